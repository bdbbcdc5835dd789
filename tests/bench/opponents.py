"""Those the hub is compared with: nginx, if the system has it, and a reverse proxy of ten lines in aiohttp."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from hub.listener import free_ports
from tests.bench.load import Ask
from tests.bench.processes import running, wait_for_port
from tests.bench.stage import Contestant, Stage

NO_NGINX = "this system has no nginx, so what is compared with it is left out (apt install nginx-light)"

# One process, as the hub is; kept from spilling long answers to disk, since that would count against it.
_NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr error;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log access.log combined buffer=64k flush=1s;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_body_buffer_size 64k; proxy_buffer_size 8k; proxy_buffers 16 16k; proxy_max_temp_file_size 0;
    keepalive_requests 100000000;
    upstream receiver {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Request-ID $request_id;
            proxy_pass http://receiver;
        }}
    }}
}}
"""


@cache
def find_nginx() -> str | None:
    """Where the system's nginx is; distributions keep it out of an ordinary user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/sbin")


@asynccontextmanager
async def nginx(stage: Stage) -> AsyncIterator[Contestant]:
    """Run nginx as a reverse proxy with its access log on and kept connections to the receiver."""
    program = find_nginx()
    assert program is not None
    (port,) = free_ports(1)
    folder = stage.folder / f"nginx-{port}"
    folder.mkdir()
    (folder / "nginx.conf").write_text(_NGINX.format(port=port, upstream=stage.upstream_port))
    command = (program, "-e", "stderr", "-p", str(folder), "-c", "nginx.conf")
    with running(command, stage.folder / "nginx.log", cores=stage.cores.measured) as (measured, _):
        await wait_for_port(port)
        yield Contestant(measured, port, ())


@asynccontextmanager
async def bare_proxy(stage: Stage) -> AsyncIterator[Contestant]:
    """Run the ten-line proxy."""
    (port,) = free_ports(1)
    upstream = f"http://127.0.0.1:{stage.upstream_port}"
    command = (sys.executable, "-m", "tests.bench.bare_proxy", str(port), upstream)
    with running(command, stage.folder / "proxy.log", cores=stage.cores.measured) as (measured, _):
        await wait_for_port(port)
        yield Contestant(measured, port, ())


def asking(contestant: Contestant, ask: Ask) -> Contestant:
    """Give a contestant with what it is asked."""
    return Contestant(contestant.measured, contestant.port, [[ask]])
