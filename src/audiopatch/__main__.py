"""``audiopatch``, also as ``python -m audiopatch``."""

from audiopatch.cli.complete import answer


def main() -> None:
    """A shell that waits for what may be typed is answered before anything else is imported."""
    if not answer():
        from audiopatch.cli.main import main as run

        run()


if __name__ == "__main__":
    main()
