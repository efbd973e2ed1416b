/**
 * Who listens where the probes ask: the system's table of listening sockets, and the processes that hold
 * them. Invariant: only what can be seen is said; a socket whose holder belongs to somebody else has none.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { splitHostPort } from '../../config/schema/fields.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import type { LiveProcess } from '../service/process-table.js';

/** What the kernel calls a socket that listens. */
const listening = '0A';
/** Addresses in the system's table that answer on loopback: every one, 127.x, ::1, and 127.x within IPv6. */
const answersLoopback = /^(0{8}|.{6}7F|0{32}|0{24}01000000|0{16}F{4}0{4}.{6}7F)$/;
/** Processes that are looked at before other work of the agent gets its turn. */
const PROCESSES_PER_TURN = 32;

/** The ports of this machine's loopback that the probes ask. */
export function loopbackPorts(probes: readonly ProbeConfig[]): number[] {
  const ports = probes.flatMap((probe) => {
    if (probe.kind === 'http') return portOfUrl(new URL(probe.url));
    if (probe.kind !== 'tcp' && probe.kind !== 'grpc') return [];
    const target = splitHostPort(probe.address);
    return target !== undefined && isLoopback(target.host) ? [target.port] : [];
  });
  return [...new Set(ports)];
}

/** The ids of those of the processes that hold a socket which listens on one of the ports. */
export async function listenersOn(
  ports: readonly number[],
  processes: readonly LiveProcess[],
): Promise<Set<number>> {
  const sockets = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => socketsIn(table, ports)));
  const found = new Set<number>();
  if (sockets.size === 0) return found;
  for (const [index, { pid }] of processes.entries()) {
    if (index % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    if (filesOf(pid).some((file) => sockets.has(file))) found.add(pid);
  }
  return found;
}

function portOfUrl({ hostname, port, protocol }: URL): number[] {
  if (!isLoopback(hostname.replace(/^\[|\]$/g, ''))) return [];
  return [port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)];
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host);
}

/** The names, as a process's open files have them, of the sockets of one table that listen on these ports. */
function socketsIn(table: string, ports: readonly number[]): string[] {
  const rows = readOrEmpty(() => readFileSync(table, 'latin1').split('\n').slice(1));
  return rows.flatMap((row) => {
    const fields = row.trim().split(/\s+/);
    const [address = '', port = ''] = (fields[1] ?? '').split(':');
    const isWanted = ports.includes(Number.parseInt(port, 16)) && answersLoopback.test(address);
    return isWanted && fields[3] === listening ? [`socket:[${fields[9]}]`] : [];
  });
}

function filesOf(pid: number): string[] {
  const place = `/proc/${pid}/fd`;
  return readOrEmpty(() => readdirSync(place)).flatMap((name) =>
    readOrEmpty(() => [readlinkSync(`${place}/${name}`)]),
  );
}

/** Nothing, where a process has ended meanwhile or is not ours to look into, or a table is not there. */
function readOrEmpty(read: () => string[]): string[] {
  try {
    return read();
  } catch {
    // What cannot be seen is not said: the caller then knows no holder.
    return [];
  }
}
