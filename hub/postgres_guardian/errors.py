"""Why the embedded PostgreSQL cannot serve."""


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot serve; the message is one plain sentence for the operator and names the fix."""


def read_complaint(said: str) -> str:
    """What a program of PostgreSQL complains of in what it said: the first error, or else its last words."""
    lines = [line for line in said.splitlines() if line.strip()] or ["it says nothing"]
    complaint = next((line for line in lines if "FATAL:" in line or "error:" in line), lines[-1])
    return complaint.split("FATAL:")[-1].split("error:")[-1].strip()
