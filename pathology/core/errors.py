"""The error tree: everything this project refuses, by name and with a remedy."""


class PathologyError(Exception):
    """Root of the tree: catch this to catch only our own refusals."""


class ConfigError(PathologyError):
    """Settings that cannot be used; the message names the file and the key."""


class ManifestError(PathologyError):
    """A manifest that cannot be used as a whole; the message names the rows."""


class ArtifactError(PathologyError):
    """An artifact on disk that is damaged, incomplete or of another schema."""


class SlideError(PathologyError):
    """A fault of one slide: it costs that slide and never the batch."""

    def __init__(self, slide_id: str, problem: str, remedy: str) -> None:
        super().__init__(slide_id, problem, remedy)  # args intact, so it survives pickling
        self.slide_id, self.problem, self.remedy = slide_id, problem, remedy

    @property
    def reason(self) -> str:
        """Problem and remedy, without the slide's id."""
        return f"{self.problem}. {self.remedy}."

    def __str__(self) -> str:
        return f"{self.slide_id}: {self.reason}"


class UnreadableSlide(SlideError):
    """The file is missing, damaged or of a format nobody here reads."""


class MissingSpacing(SlideError):
    """No trustworthy microns per pixel could be found for the slide."""


class WrongResolution(SlideError):
    """The slide cannot give the resolution that was asked for."""


def reason_of(fault: Exception) -> str:
    """Why something could not be done, in one line, without the slide's id."""
    if isinstance(fault, SlideError):
        reason = fault.reason
    elif isinstance(fault, PathologyError):
        reason = str(fault)
    elif isinstance(fault, OSError):
        reason = f"{fault.strerror or fault}{f' ({fault.filename})' if fault.filename else ''}"
    else:
        reason = f"unexpected {type(fault).__name__}: {str(fault)[:300]}"
    return " ".join(reason.split())
