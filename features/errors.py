"""Everything this project raises on purpose.

TierRouterError
├── InputError          what was given cannot be used: the command line exits with 2
│   ├── RequestError    a chat-completions payload that is not one
│   ├── TraceError      a trace file: names the file, the row and the field
│   ├── LearningError   good rows, but nothing can be learned from them
│   ├── EvidenceError   logs and outcomes that are readable, but say too little
│   ├── TargetError     a target that cannot be reached: names the best one that can
│   ├── ArtifactError   a version folder that is missing, incomplete or altered
│   └── EndpointError   an endpoint that no call can succeed at: wrong key, unknown model, no balance
├── ParityError         the exported file and scikit-learn disagree: nothing was written
└── StorageError        the artifact could not be written (disk full, no permission)
"""


class TierRouterError(Exception):
    """Root of all errors raised on purpose."""


class InputError(TierRouterError):
    """What the user gave cannot be used."""


class RequestError(InputError):
    """A chat-completions payload that is not one."""


class TraceError(InputError):
    """A trace file that cannot be read as traces."""


class LearningError(InputError):
    """The rows are good, but nothing can be learned from them."""


class EvidenceError(InputError):
    """Logs and outcomes are readable, but say too little."""


class TargetError(InputError):
    """A target that cannot be reached."""


class ArtifactError(InputError):
    """A version folder that is missing, incomplete or altered."""


class EndpointError(InputError):
    """An endpoint that no call can succeed at."""


class ParityError(TierRouterError):
    """The exported file and scikit-learn disagree."""


class StorageError(TierRouterError):
    """The artifact could not be written."""
