"""The errors that Fico expects: one line that says what is wrong and what to do about it."""


class FicoError(Exception):
    """Something cannot be done; `fico` prints the line and exits with 1."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return " ".join(text.split())


class UsageError(FicoError):
    """What was asked makes no sense; `fico` prints the line and exits with 2."""
