"""TLS servers that do exactly what they are told, on 127.0.0.1.

It reads lines of words that tabs separate:

    listen CERT KEY [OPTION=VALUE...] [STEP...]   prints "listening PORT"
    go PORT                                       ends one `wait` there

Each connection takes the steps, one after the other; what it does and sees is
printed, a line each, behind its port. OPTIONs: version=1.2 or 1.3, ca=FILE
(clients have to show a certificate), alpn=NAME, tickets=N. STEPs:

    handshake    part=N (bytes of what it sends first)
    slow (the handshake, a byte each 20 ms)
    send=TEXT    bytes=TEXT (a record each)    many=COUNT (bytes)
    raw=TEXT (no TLS)            read=N        echo
    finRead (reads until the other side has ended)
    end (close_notify, FIN)      fin           reset
    both=TEXT (that, close_notify and FIN in one piece)     wait    mute
"""
import socket
import ssl
import struct
import sys
import threading
import time


class Peer:
    def __init__(self, context, sock, go, port):
        self.sock, self.go, self.port = sock, go, port
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inward, self.outward, server_side=True)

    def say(self, *words):
        say(self.port, *words)

    def flush(self):
        self.sock.sendall(self.outward.read())

    def fill(self):
        bytes_ = self.sock.recv(65536)
        if bytes_:
            self.inward.write(bytes_)
        else:
            self.inward.write_eof()

    def until_done(self, call, flush):
        while True:
            try:
                result = call()
                flush()
                return result
            except ssl.SSLWantReadError:
                flush()
                self.fill()
            except ssl.SSLError:
                flush()
                raise

    def handshake(self, flush=None):
        self.until_done(self.tls.do_handshake, flush or self.flush)
        self.say("secured", self.tls.version(), "resumed" if self.tls.session_reused
            else "full", self.tls.selected_alpn_protocol())

    def do_slow(self, _):
        def flush():
            for byte in self.outward.read():
                self.sock.sendall(bytes([byte]))
                time.sleep(0.02)
        self.handshake(flush)

    def do_part(self, count):
        while self.outward.pending == 0:
            self.fill()
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
        self.sock.sendall(self.outward.read()[:int(count)])

    def do_handshake(self, _):
        self.handshake()

    def do_send(self, text):
        self.tls.write(text.encode("latin-1"))
        self.flush()

    def do_bytes(self, text):
        for byte in text.encode("latin-1"):
            self.tls.write(bytes([byte]))
            self.flush()

    def do_many(self, count):
        left = int(count)
        while left > 0:
            left -= self.tls.write(b"x" * min(left, 16384))
            self.flush()

    def do_raw(self, text):
        self.sock.sendall(text.encode("latin-1"))

    def do_read(self, count):
        got = b""
        while len(got) < int(count):
            part = self.until_done(lambda: self.tls.read(int(count) - len(got)),
                                   self.flush)
            if not part:
                break
            got += part
        self.say("got", len(got), got[:64].decode("latin-1"))

    def do_finRead(self, _):
        count = 0
        try:
            while True:
                part = self.until_done(lambda: self.tls.read(65536), self.flush)
                if not part:
                    break
                count += len(part)
            self.say("ended after", count)
        except ssl.SSLEOFError:
            self.say("cut after", count)

    def do_echo(self, _):
        while True:
            part = self.until_done(lambda: self.tls.read(65536), self.flush)
            if not part:
                break
            self.tls.write(part)
            self.flush()
        self.say("ended")

    def end(self):
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass

    def do_end(self, _):
        self.end()
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def do_both(self, text):
        self.tls.write(text.encode("latin-1"))
        self.end()
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def do_fin(self, _):
        self.sock.shutdown(socket.SHUT_WR)

    def do_reset(self, _):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def do_wait(self, _):
        self.go.acquire()

    def do_mute(self, _):
        threading.Event().wait()

    def run(self, steps):
        try:
            for step in steps:
                name, _, value = step.partition("=")
                getattr(self, "do_" + name)(value)
            self.say("done")
            while self.sock.fileno() >= 0 and self.sock.recv(65536):
                pass
            self.say("gone")
        except (ssl.SSLError, OSError) as error:
            self.say("failed", getattr(error, "reason", None) or error)
        self.sock.close()


lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


def unescape(text):
    return text.encode().decode("unicode_escape")


def listen(cert, key, *words):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    steps = []
    for word in map(unescape, words):
        name, _, value = word.partition("=")
        if name == "version":
            version = {"1.2": ssl.TLSVersion.TLSv1_2,
                       "1.3": ssl.TLSVersion.TLSv1_3}[value]
            context.minimum_version = context.maximum_version = version
        elif name == "ca":
            context.load_verify_locations(value)
            context.verify_mode = ssl.CERT_REQUIRED
        elif name == "alpn":
            context.set_alpn_protocols([value])
        elif name == "tickets":
            context.num_tickets = int(value)
        else:
            steps.append(word)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]
    gates[str(port)] = go = threading.Semaphore(0)

    def accept():
        while True:
            peer = Peer(context, listener.accept()[0], go, port)
            threading.Thread(target=peer.run, args=(steps,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    say("listening", port)


gates = {}
for line in sys.stdin:
    command, *words = line.rstrip("\n").split("\t")
    if command == "listen":
        listen(*words)
    else:
        gates[words[0]].release()
