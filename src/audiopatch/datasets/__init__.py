"""Labelled data: one recipe per file, each turning an official layout into items, splits and labels."""

from audiopatch.catalog import Catalog

DATASETS = Catalog(
    "dataset",
    {
        "folder": "audiopatch.datasets.own:FOLDER",
        "csv": "audiopatch.datasets.own:CSV",
        "discogs": "audiopatch.datasets.own:DISCOGS",
        "gtzan": "audiopatch.datasets.music:GTZAN",
        "openmic": "audiopatch.datasets.music:OPENMIC",
        "mtt": "audiopatch.datasets.music:MTT",
        "jamendo-genre": "audiopatch.datasets.music:GENRE",
        "jamendo-instrument": "audiopatch.datasets.music:INSTRUMENT",
        "jamendo-mood": "audiopatch.datasets.music:MOOD",
        "jamendo-top50": "audiopatch.datasets.music:TOP50",
        "msd": "audiopatch.datasets.music:USUAL",
        "msd-cals": "audiopatch.datasets.music:CALS",
        "esc50": "audiopatch.datasets.sounds:ESC50",
        "esc10": "audiopatch.datasets.sounds:ESC10",
        "fsd50k": "audiopatch.datasets.sounds:FSD50K",
        "speech-commands": "audiopatch.datasets.sounds:SPEECH_COMMANDS",
        "audioset": "audiopatch.datasets.sounds:AUDIOSET",
        "audioset20k": "audiopatch.datasets.sounds:AUDIOSET20K",
        "voxceleb1": "audiopatch.datasets.sounds:VOXCELEB1",
    },
)
