"""The errors of Ray that the engine knows."""


class RayError(Exception):
    pass


class TaskCancelledError(RayError):
    pass


class NodeDiedError(RayError):
    pass


class LocalRayletDiedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class WorkerCrashedError(RayError):
    pass
