/**
 * Roots of a node agent as a real agent has left them, with certificates to reach it by: one whose last
 * job has ended, one in the middle of a job of its own, one in the middle of an upgrade. A test copies
 * one, damages a file, and starts an agent on it.
 */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import type { TlsFiles } from '../../config/tls.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { type RunningAgent, startAgent } from '../../node-agent/agent.js';
import { agentConfig, environment } from '../../node-agent/agent-node.test.part.js';
import { Caller, command, maintenance } from '../../node-agent/caller.test.part.js';
import { writeServiceRecord } from '../../node-agent/service/service-record.js';

export const states = ['ended', 'open', 'upgrading'] as const;
export type RootState = (typeof states)[number];

/** The state files of an agent, below its root. */
export interface StateFile {
  readonly state: RootState;
  readonly path: string;
}

export class AgentRoots {
  private count = 0;
  readonly stateFiles: StateFile[] = [];
  private readonly samples = new Map<string, Buffer>();

  private constructor(
    readonly folder: string,
    private readonly tls: Record<'agent' | 'controller', TlsFiles>,
  ) {}

  static async make(): Promise<AgentRoots> {
    const folder = await mkdtemp(join(tmpdir(), 'plexi-hostile-'));
    const ca = join(folder, 'ca');
    await createAuthority(ca, { cluster: 'test' });
    const issue = async (role: 'agent' | 'controller', name: string): Promise<TlsFiles> => {
      const out = { cert: join(folder, `${role}.pem`), key: join(folder, `${role}.key`) };
      await issueCertificate(ca, { identity: { cluster: 'test', role, name }, hosts: ['127.0.0.1'], out });
      return { ca: join(ca, 'ca.pem'), ...out };
    };
    const tls = {
      agent: await issue('agent', 'node-1'),
      controller: await issue('controller', 'controller-0'),
    };
    const roots = new AgentRoots(folder, tls);
    await mkdir(join(folder, 'roots'));
    await roots.makeEnded();
    roots.makeUnfinished();
    return roots;
  }

  config(root: string): NodeAgentConfig {
    return agentConfig(root, { tls: this.tls.agent, repository: join(this.folder, 'no-repository') });
  }

  /** The certificate of one of the two sides. */
  certificate(role: 'agent' | 'controller'): TlsFiles {
    return this.tls[role];
  }

  /** A controller's certificate by an authority that nobody here knows. */
  async foreign(): Promise<TlsFiles> {
    const ca = join(this.folder, 'foreign');
    await createAuthority(ca, { cluster: 'test' });
    const out = { cert: join(ca, 'controller.pem'), key: join(ca, 'controller.key') };
    const identity = { cluster: 'test', role: 'controller', name: 'controller-0' } as const;
    await issueCertificate(ca, { identity, hosts: ['127.0.0.1'], out });
    return { ca: join(ca, 'ca.pem'), ...out };
  }

  connect(agent: RunningAgent): Caller {
    return new Caller(agent.port, this.tls.controller);
  }

  /** The content of a state file as the agent has left it. */
  sample({ state, path }: StateFile): Buffer {
    const file = join(this.template(state), path);
    const known = this.samples.get(file) ?? readFileSync(file);
    this.samples.set(file, known);
    return known;
  }

  /** A copy of a root with another content in one file; removed by `discard`. */
  copy({ state, path }: StateFile, content: Uint8Array): string {
    const root = join(this.folder, 'roots', String(this.count++));
    cpSync(this.template(state), root, { recursive: true });
    writeFileSync(join(root, path), content);
    return root;
  }

  discard(root: string): void {
    rmSync(root, { recursive: true, force: true });
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }

  private template(state: RootState): string {
    return join(this.folder, state);
  }

  /** Three jobs that ended, the last of which left the node in maintenance. */
  private async makeEnded(): Promise<void> {
    const root = this.template('ended');
    const agent = await startAgent(this.config(root), environment);
    const caller = this.connect(agent);
    await caller.adopt([1, 5, 1], 'nonce');
    for (const [at, on] of [true, false, true].entries()) {
      const { result } = await caller.execute(maintenance(`m${at}`, [1, 5, at + 2], on));
      assert.equal(result.outcome, 'done');
    }
    caller.close();
    await agent.stop();
    writeServiceRecord(join(root, 'run', 'service.json'), {
      ...{
        schema: 1,
        token: 'none',
        bootId: 'another',
        startedAt: '2024-12-19T12:00:00Z',
        stopSignal: 'SIGTERM',
      },
      argv: ['node', 'server.mjs'],
      process: { pid: 2 ** 21, startTicks: 1 },
    });
    this.note('ended');
  }

  private makeUnfinished(): void {
    for (const state of ['open', 'upgrading'] as const) {
      cpSync(this.template('ended'), this.template(state), { recursive: true });
      const journal = join(this.template(state), 'agent', 'journal');
      const last = readdirSync(journal).sort().at(-1) ?? '';
      if (state === 'open') rmSync(join(journal, last));
      else this.beginUpgrade(journal, Number.parseInt(last, 10));
      this.note(state);
    }
  }

  /** An upgrade that was stopped before its service was: its release does not lie on the node. */
  private beginUpgrade(journal: string, sequence: number): void {
    const value = {
      from: { version: 'none', digest: '' },
      to: { version: '0b1', digest: 'd'.repeat(64) },
      timeouts: { stopMs: 1_000n, applyMs: 1_000n, probeMs: 1_000n, rollbackMs: 1_000n },
    };
    const order = Command.fromPartial(
      command('upgrade-1', [1, 5, 9], { $case: 'upgrade', value: value as never }),
    );
    const facts = { wasInMaintenance: true, folderBefore: null, previousBefore: null };
    const base = { schema: 1, commandId: 'upgrade-1', at: '2024-12-19T12:00:00Z' };
    const records = [
      {
        ...base,
        kind: 'accepted',
        command: Command.toJSON(order),
        payloadHash: 'h',
        token: { epoch: '1', term: '5', seq: '9' },
        step: 'stop',
        facts: { ...facts, folderAfter: '0b1-dddddddddddd', backupId: '' },
      },
      { ...base, kind: 'step', done: 'stop', step: 'apply', committed: false },
    ];
    for (const [at, record] of records.entries()) {
      const name = `${String(sequence + 1 + at).padStart(10, '0')}.json`;
      writeFileSync(join(journal, name), `${JSON.stringify({ ...record, sequence: sequence + 1 + at })}\n`);
    }
  }

  private note(state: RootState): void {
    const names = readdirSync(join(this.template(state), 'agent', 'journal'));
    const paths = [
      ...names.map((name) => join('agent', 'journal', name)),
      ...['agent/fence.json', 'agent/maintenance.json', 'run/service.json'],
      ...['agent/identity/install.json', 'agent/identity/backup.age', 'agent/identity/backup-sign.key'],
    ];
    this.stateFiles.push(...paths.map((path) => ({ state, path })));
  }
}
