// What the seed describes, on Node's `net`: the client of the benchmarks as
// somebody with Node would have it. It does what client_policy.lua says, but
// for the servers.
'use strict';

const {EventEmitter} = require('events');
const net = require('net');

const IN_FLIGHT = 64;

class ClientRover extends EventEmitter {
  constructor({ROVING_INTERVAL = 1000, servers = {}} = {}) {
    super();
    this.interval = ROVING_INTERVAL;
    this.servers = {...servers};
  }

  addServer(id, server) {
    this.servers[id] = server;
  }

  dropServer(id) {
    delete this.servers[id];
  }

  start() {
    this.connect();
    setInterval(() => this.connect(), this.interval);
  }

  connect() {
    const ids = Object.keys(this.servers);
    if (ids.length === 0) {
      this.emit('error', new Error('No servers to contact'));
      return;
    }
    const id = ids[Math.floor(Math.random() * ids.length)];
    const server = this.servers[id];
    const socket = net.connect(server);
    let line = '';
    const onError = () => this.emit('unreachable', id, server);
    const onData = (chunk) => {
      line += chunk.toString('latin1');
      const slot = /^(\d+)\r\n/.exec(line);
      if (!slot) return;
      socket.off('data', onData);
      socket.off('error', onError);
      this.emit('connection', parseInt(slot[1], 10), socket);
    };
    socket.on('error', onError);
    socket.on('data', onData);
  }
}

function newRover(ports, interval) {
  const servers = {};
  for (const port of ports)
    servers[port] = {host: '127.0.0.1', port: Number(port)};
  const rover = new ClientRover({ROVING_INTERVAL: interval, servers});
  rover.on('unreachable', (id) => {
    throw new Error(`${id} is unreachable`);
  });
  return rover;
}

const does = {
  handshakes(count, inFlight, ...ports) {
    const rover = newRover(ports);
    let begun = Number(inFlight), done = 0;
    rover.on('connection', (slot, socket) => {
      socket.destroy();
      done++;
      if (begun < count) {
        begun++;
        rover.connect();
      }
      if (done == count) console.log('done');
    });
    console.log('begin');
    for (let i = 0; i < begun; i++) rover.connect();
  },

  keep(count, interval, ...ports) {
    const rover = newRover(ports, Number(interval)), kept = [];
    let begun = 0;
    const next = () => {
      begun++;
      rover.connect();
    };
    rover.on('connection', (slot, socket) => {
      if (kept.length == count) {
        socket.destroy();
        return;
      }
      socket.on('error', () => {});
      socket.on('close', () => {
        throw new Error('a socket was closed');
      });
      kept.push({slot, socket});
      if (begun < count) {
        next();
      } else if (kept.length == count) {
        rover.start();
        global.gc();
        console.log('kept');
      }
    });
    while (begun < count && begun < IN_FLIGHT) next();
  },

  first(...ports) {
    const rover = newRover(ports);
    rover.on('connection', () => {
      const {user, system} = process.cpuUsage();
      console.log(`connection ${(user + system) / 1000}`);
      process.exit();
    });
    rover.start();
  },

  idle() {
    setInterval(() => {}, 3600000);
    console.log('idle');
  },

  ask(count, size, ms, ...ports) {
    const rover = newRover(ports), kept = [], times = [];
    const bytes = Number(size), question = Buffer.alloc(bytes, 'x');
    let from, to;

    const finish = (now) => {
      times.sort((a, b) => a - b);
      const p99 = times[Math.ceil(times.length * 0.99) - 1];
      const rate = times.length / ((now - from) / 1000);
      console.log(`${Math.round(rate)} ${p99 * 1000}`);
      process.exit();
    };

    const begin = (socket) => {
      let left = bytes, asked = performance.now();
      socket.on('data', (chunk) => {
        left -= chunk.length;
        if (left > 0) return;
        const now = performance.now();
        if (now >= from && times.length === 0) console.log('begin');
        if (now >= from) times.push(now - asked);
        if (now >= to) finish(now);
        left = bytes;
        asked = now;
        socket.write(question);
      });
      socket.write(question);
    };

    rover.on('connection', (slot, socket) => {
      socket.setNoDelay(true);
      kept.push(socket);
      if (kept.length < count) {
        rover.connect();
        return;
      }
      from = performance.now() + 200; // what comes before does not count
      to = from + Number(ms);
      kept.forEach(begin);
    });
    rover.connect();
  },
};

const [what, ...args] = process.argv.slice(2);
does[what](...args);
