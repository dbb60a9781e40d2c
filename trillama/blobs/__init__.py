"""Content-addressed files: what a model is made of, stored once under the name of its digest.

Owns the folder ``blobs/`` of the models folder (Ollama's layout) and the one way a file is written
durably: temporary file, fsync, rename, fsync of the folder. A crash leaves whole blobs and stale
temporary files, never half a blob. Writers of one digest may race; each ends with the whole file.

Called by ``models/`` and the API's blob routes, through a worker thread: every function blocks.
Never builds a path from anything but a ``Digest``, never follows what a client names, never knows
who needs a blob: ``models/pruning.py`` does.
"""

from .durable import FOLDER_MODE, make_folder, replace_file, sync_folder, translated
from .sharing import FILE_MODE, Published
from .store import CHUNK, SPARE, Blob, BlobStatistics, BlobStore, Stage

__all__ = [
    "CHUNK",
    "FILE_MODE",
    "FOLDER_MODE",
    "SPARE",
    "Blob",
    "BlobStatistics",
    "BlobStore",
    "Published",
    "Stage",
    "make_folder",
    "replace_file",
    "sync_folder",
    "translated",
]
