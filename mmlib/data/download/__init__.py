"""Fetch a public data set: resumed, verified, unpacked, and never fetched twice.

Needs the extra `data` (pooch). The folder gets the recordings, and `downloads.json`, which says by
which checksum each file was verified and whether the publisher gave it. Where none is published,
that of the first download is kept, and later ones are held against it (trust on first use).
"""

from mmlib.data.download.fetching import Downloaded, download
from mmlib.data.download.sources import ELSEWHERE, SOURCES, RemoteFile, Source
from mmlib.data.download.transfer import DownloadError, ResumingDownloader, UnreachableError

__all__ = [
    "ELSEWHERE",
    "SOURCES",
    "DownloadError",
    "Downloaded",
    "RemoteFile",
    "ResumingDownloader",
    "Source",
    "UnreachableError",
    "download",
]
