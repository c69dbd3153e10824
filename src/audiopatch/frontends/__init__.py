"""The way into the model: waveform -> normalised log-mel, one published recipe per file."""

from audiopatch.catalog import Catalog

FRONTENDS = Catalog(
    "front-end",
    {
        "maest": "audiopatch.frontends.maest:MaestFrontend",
        "maest-hub": "audiopatch.frontends.maest:MaestHubFrontend",
        "passt": "audiopatch.frontends.passt:PasstFrontend",
        "ast": "audiopatch.frontends.ast:AstFrontend",
        "ced": "audiopatch.frontends.ced:CedFrontend",
        "musicnn": "audiopatch.frontends.maest:MusicnnFrontend",
    },
)
