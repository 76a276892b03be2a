"""A stand-in for the Hugging Face Hub: one repository, as its HTTP interface gives it."""

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path

COMMIT = '0123456789' * 4


@contextlib.contextmanager
def serving(folder: Path, repository: str, revisions=('main',)):
  """Serves the files of a folder as a repository; gives the address of the server."""

  class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 (shared by all requests)

    def do_GET(self):
      self.asked.append(self.path)
      status, content, headers = self.answer(self.path.partition('?')[0])
      self.send_response(status)
      for name, value in ({'Content-Length': str(len(content))} | headers).items():
        self.send_header(name, value)
      self.end_headers()
      if self.command == 'GET':
        self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, path):
      files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
      if path.startswith(f'/api/models/{repository}/revision/'):
        if path.rpartition('/')[2] not in (*revisions, COMMIT):
          return 404, b'', {'X-Error-Code': 'RevisionNotFound'}
        siblings = [{'rfilename': name} for name in files]
        return as_json({'id': repository, 'sha': COMMIT, 'siblings': siblings})
      if path.startswith(f'/api/models/{repository}/tree/'):
        kinds = [
          {'type': 'file', 'path': name, 'size': len(content), 'oid': oid(content)}
          for name, content in files.items()
        ]
        return as_json(kinds)
      name = path.rpartition('/')[2]
      if path.startswith(f'/{repository}/resolve/') and name in files:
        tag = {'ETag': f'"{oid(files[name])}"', 'X-Repo-Commit': COMMIT}
        return 200, files[name], tag
      return 404, b'', {'X-Error-Code': 'RepoNotFound'}

    def log_message(self, *_):
      pass

  def as_json(content):
    return 200, json.dumps(content).encode(), {'Content-Type': 'application/json'}

  def oid(content):
    return hashlib.sha1(content).hexdigest()

  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield f'http://127.0.0.1:{server.server_port}', Handler.asked
  finally:
    server.shutdown()
    server.server_close()
    thread.join()
