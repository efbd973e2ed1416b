/**
 * Networks of their own for the processes of a test, joined by a bridge: so that one of them can be cut off
 * from some of the others, in one direction or in both, as a switch or a firewall does it. Needs root and
 * `ip`; the network of the machine gets one interface more, and loses it again.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Place } from './real-etcd.test.part.js';

const ip = (...words: string[]): void => {
  execFileSync('ip', words, { stdio: 'pipe', timeout: 10_000 });
};

/** Why there can be none here; undefined when there can. */
export function noNetworks(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for networks of its own';
  const probe = `plx${process.pid}p`;
  try {
    ip('netns', 'add', probe);
    ip('-n', probe, 'link', 'add', 'br0', 'type', 'bridge');
    return undefined;
  } catch {
    return 'needs ip, and the right to make networks and bridges';
  } finally {
    if (existsSync(`/run/netns/${probe}`)) ip('netns', 'del', probe);
  }
}

export class Networks {
  private readonly made: string[] = [];
  private readonly subnet = `10.${20 + (process.pid % 200)}.${Math.floor(process.pid / 200) % 250}`;
  private readonly hub = this.nameOf('hub');
  /** The test's own end of the line to the bridge. */
  private readonly outer = `plx${process.pid}`;
  private readonly addresses = new Map<string, string>();
  /** More addresses of the test's own network. */
  private readonly atHome: Place[] = [];
  /** The network of the test itself. */
  readonly home: Place = { address: `${this.subnet}.1`, prefix: [] };

  constructor() {
    this.add(this.hub);
    ip('-n', this.hub, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', this.hub, 'link', 'set', 'br0', 'up');
    const { outer } = this;
    ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', 'home', 'netns', this.hub);
    ip('-n', this.hub, 'link', 'set', 'home', 'master', 'br0', 'up');
    ip('addr', 'add', `${this.home.address}/24`, 'dev', outer);
    ip('link', 'set', outer, 'up');
  }

  /** One more network, under the given last number of its address. */
  place(name: string, number: number): Place {
    const network = this.nameOf(name);
    const address = `${this.subnet}.${number}`;
    this.add(network);
    this.addresses.set(name, address);
    ip('-n', network, 'link', 'set', 'lo', 'up');
    ip('-n', this.hub, 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', network);
    ip('-n', this.hub, 'link', 'set', name, 'master', 'br0', 'up');
    ip('-n', network, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    ip('-n', network, 'link', 'set', 'eth0', 'up');
    return { address, prefix: ['ip', 'netns', 'exec', network] };
  }

  /** One more address of the test's own network, which can be lost by itself. */
  address(number: number): Place {
    const place: Place = { address: `${this.subnet}.${number}`, prefix: [] };
    ip('addr', 'add', `${place.address}/24`, 'dev', this.outer);
    this.atHome.push(place);
    return place;
  }

  /** Neither hears nor is heard. @returns what joins it again */
  unplug(name: string): () => void {
    ip('-n', this.hub, 'link', 'set', name, 'down');
    return () => ip('-n', this.hub, 'link', 'set', name, 'up');
  }

  /** It hears everybody, and nobody hears it. */
  mute(name: string): () => void {
    const others = [...this.addresses].filter(([other]) => other !== name);
    const home = [this.home, ...this.atHome].map(({ address }) => address);
    return this.lose([name], [...home, ...others.map(([, address]) => address)]);
  }

  /** Everybody hears it, and it hears nobody. */
  deafen(name: string): () => void {
    const others = [...this.addresses.keys()].filter((other) => other !== name);
    return this.lose([undefined, ...others], [this.addresses.get(name) ?? '']);
  }

  /** What one sends to some of the others is lost; the rest arrives. */
  cut(name: string, from: readonly Place[]): () => void {
    return this.lose(
      [name],
      from.map(({ address }) => address),
    );
  }

  /** Takes all of it away; the processes in it must have ended. */
  remove(): void {
    // A network lives on for a moment after its name is gone; its end of this line would hold the name.
    ip('link', 'del', this.outer);
    for (const network of this.made.splice(0).reverse()) ip('netns', 'del', network);
  }

  /**
   * What these send to those addresses goes to a station that is not there, and is lost without a word.
   * @param senders names; undefined is the test itself
   */
  private lose(senders: readonly (string | undefined)[], addresses: readonly string[]): () => void {
    const each = (...words: string[]): void => {
      for (const sender of senders) {
        const [network, device] =
          sender === undefined ? [[], this.outer] : [['-n', this.nameOf(sender)], 'eth0'];
        for (const address of addresses) {
          const [verb = '', ...rest] = words;
          ip(...network, 'neigh', verb, address, ...rest, 'dev', device);
        }
      }
    };
    each('replace', 'lladdr', '02:00:00:00:00:99', 'nud', 'permanent');
    return () => each('del');
  }

  private nameOf(name: string): string {
    return `plx${process.pid}-${name}`;
  }

  private add(network: string): void {
    ip('netns', 'add', network);
    this.made.push(network);
  }
}
