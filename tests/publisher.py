"""A publisher of data sets on this machine, who can be made to misbehave."""

import hashlib
import io
import json
import re
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RECORD = "/api/records/1188976"
CREMAD = "CheyneyComputerScience/CREMA-D"
MELD = "declare-lab/MELD"


def zipped(members, compression=zipfile.ZIP_STORED):
    """A zip of names and contents."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


class Publisher:
    """Serves `files`, and keeps in `asked` the (path, Range) of every request.

    `cut[path]` holds byte counts after which the next answers break off; `status[path]` the codes of
    the next answers; `deaf` servers ignore Range; `slow` waits so many seconds between pieces.
    """

    def __init__(self):
        self.files, self.asked, self.cut, self.status = {}, [], {}, {}
        self.deaf, self.slow = False, 0.0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                publisher.answer(self)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        path, ranged = request.path.split("?")[0], request.headers.get("Range")
        self.asked.append((path, ranged))
        codes = self.status.get(path, [])
        code = codes.pop(0) if codes else 200 if path in self.files else 404
        if code != 200:
            request.send_response(code)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = self.files[path]
        start = int(re.fullmatch(r"bytes=(\d+)-", ranged)[1]) if ranged and not self.deaf else 0
        if start >= len(content) and start:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        cuts = self.cut.get(path, [])
        stop = start + cuts.pop(0) if cuts else len(content)
        try:
            for first in range(start, min(stop, len(content)), 4096):
                request.wfile.write(content[first : min(first + 4096, stop)])
                time.sleep(self.slow)
        except OSError:
            pass
        if stop < len(content):
            request.close_connection = True

    def of(self, name):
        """The Range of every request for a file of that name."""
        return [ranged for path, ranged in self.asked if path.endswith(name)]


class Ravdess(Publisher):
    """Archives of RAVDESS, and Zenodo's record of them."""

    def add(self, name, content, checksum=None):
        self.files[f"/records/1188976/files/{name}"] = content
        record = json.loads(self.files.get(RECORD, b'{"files": []}'))
        digest = checksum or f"md5:{hashlib.md5(content).hexdigest()}"
        record["files"].append({"key": name, "size": len(content), "checksum": digest})
        self.files[RECORD] = json.dumps(record).encode()

    def place(self, name):
        return f"/records/1188976/files/{name}"


class Cremad(Publisher):
    """Recordings of CREMA-D in Git LFS: the tree, the pointers, and the contents."""

    def add(self, name, content):
        digest = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
        self.files[f"/{CREMAD}/master/{name}"] = pointer.encode()
        self.files[self.place(name)] = content
        tree = f"/repos/{CREMAD}/git/trees/master"
        listing = json.loads(self.files.get(tree, b'{"tree": [], "truncated": false}'))
        listing["tree"].append({"path": name, "type": "blob"})
        self.files[tree] = json.dumps(listing).encode()

    def place(self, name):
        return f"/media/{CREMAD}/master/{name}"


class Meld(Publisher):
    """The csv files of MELD in git: the tree, with each file's checksum and size, and the contents."""

    def add(self, name, content, sha=None):
        self.files[self.place(name)] = content
        sha = sha or hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        tree = f"/repos/{MELD}/git/trees/master"
        listing = json.loads(self.files.get(tree, b'{"tree": [], "truncated": false}'))
        entry = {"path": f"data/MELD/{name}", "type": "blob", "sha": sha, "size": len(content)}
        listing["tree"].append(entry)
        self.files[tree] = json.dumps(listing).encode()

    def place(self, name):
        return f"/{MELD}/master/data/MELD/{name}"
