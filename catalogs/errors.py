"""The one exception of a bad set-up: a stable code, what happened, and what to do about it."""


class ScannerError(Exception):
    """A failure the user can act on.

    ``code`` is contractual (dotted, stable: ``tile.no_image_hdu``); ``message`` and ``hint`` may evolve.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def report(self) -> str:
        """What a person is shown: the message, the hint and the code, a line each."""
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"Error: {self.message}{hint}\n[{self.code}]"
