"""The proxy between nodes and database does to connections what it says."""

import socket
import threading

import pytest
from proxy import Proxy


@pytest.fixture
def echo():
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(one):
        with one:
            while data := one.recv(100):
                one.sendall(data)

    def accept():
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.close()


@pytest.fixture
def proxy(echo):
    one = Proxy(lambda: socket.create_connection(echo))
    yield one
    one.close()


def client_of(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def ask(client, text=b"hello"):
    try:
        client.sendall(text)
        return client.recv(100)
    except OSError:
        return b""


def test_bytes_pass_until_they_are_cut_and_new_connections_afterwards(proxy):
    client = client_of(proxy)
    assert ask(client) == b"hello"
    proxy.cut()
    assert ask(client) == b""
    assert ask(client_of(proxy)) == b"hello"


def test_a_proxy_that_refuses_ends_what_comes_until_it_is_healed(proxy):
    client = client_of(proxy)
    assert ask(client) == b"hello"
    proxy.refuse()
    assert ask(client) == b"" and ask(client_of(proxy)) == b""
    proxy.heal()
    assert ask(client_of(proxy)) == b"hello"


def test_what_is_held_passes_later(proxy):
    client = client_of(proxy)
    assert ask(client) == b"hello"
    proxy.hold()
    client.sendall(b"late")
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.heal()
    client.settimeout(60)
    assert client.recv(100) == b"late"


def test_where_it_leads_may_change(proxy, echo):
    def nowhere():
        raise ConnectionRefusedError

    proxy.connect = nowhere
    assert ask(client_of(proxy)) == b""
    proxy.connect = lambda: socket.create_connection(echo)
    assert ask(client_of(proxy)) == b"hello"
