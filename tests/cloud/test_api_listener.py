"""The socket the API answers on."""

from __future__ import annotations

import socket
from contextlib import closing

from greenhaul_cloud.config import ApiConfig, CloudConfig
from greenhaul_cloud.service import listen


def test_small_answers_go_out_at_once() -> None:
    """Nagle's algorithm would keep a body back until its head is acknowledged: 40 ms."""
    config = CloudConfig(api=ApiConfig(listen="127.0.0.1:0"))
    with (
        closing(listen(config)) as listener,
        closing(socket.create_connection(listener.getsockname())),
    ):
        accepted, _ = listener.accept()
        with closing(accepted):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
