/**
 * The systemd units: systemd itself finds nothing wrong with them, the agent's restart leaves its
 * service alone (protocol.md, rule 14), and both are locked down well.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const units = fileURLToPath(new URL('../deploy/systemd/', import.meta.url));
const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;
const needsAnalyze = { skip: analyze ? false : 'systemd-analyze is not on this machine' };

for (const name of ['plexi-controller.service', 'plexi-node-agent.service']) {
  test(`systemd accepts ${name} and rates its exposure OK`, needsAnalyze, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'plexi-units-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const text = await readFile(join(units, name), 'utf8');
    const unit = join(folder, name);
    // systemd also looks whether the program is there; ours is where it was installed to.
    await writeFile(unit, text.replace(/^ExecStart=\S+/m, 'ExecStart=/bin/true'));
    const verify = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
    assert.equal(`${verify.stdout}${verify.stderr}`.trim(), '');
    const security = execFileSync('systemd-analyze', ['security', '--offline=true', '--no-pager', unit], {
      encoding: 'utf8',
    });
    const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(security)?.[1]);
    assert.ok(exposure <= 2, `exposure is ${exposure}\n${security}`);
  });
}

test(
  'the sample of a service asks its agent before it starts, and is not enabled',
  needsAnalyze,
  async (t) => {
    const text = await readFile(join(units, 'sample-service.service'), 'utf8');
    assert.match(text, /^ExecStartPre=\+\S+plexi-node-agent may-start --config \S+$/m);
    assert.match(text, /^Restart=no$/m);
    assert.doesNotMatch(text, /^\[Install\]$/m);
    const folder = await mkdtemp(join(tmpdir(), 'plexi-units-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const unit = join(folder, 'sample-service.service');
    await writeFile(unit, text.replace(/^(Exec\w+=\+?)\S+/gm, '$1/bin/true'));
    const verify = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
    assert.equal(`${verify.stdout}${verify.stderr}`.trim(), '');
  },
);

test('a restart of the agent ends only the agent', async () => {
  const agent = await readFile(join(units, 'plexi-node-agent.service'), 'utf8');
  assert.match(agent, /^KillMode=process$/m);
  assert.doesNotMatch(agent, /^PrivateTmp=yes$/m);
});

test('the sample of a service has the user and the root of the agent, which could restore nothing else', async () => {
  const [agent = '', service = ''] = await Promise.all(
    ['plexi-node-agent.service', 'sample-service.service'].map((name) => readFile(join(units, name), 'utf8')),
  );
  const userOf = (text: string): string | undefined => /^User=(\S+)$/m.exec(text)?.[1];
  assert.equal(userOf(service), userOf(agent));
  const [, folder] = /^StateDirectory=(\S+)$/m.exec(agent) ?? [];
  assert.match(service, new RegExp(`^WorkingDirectory=/var/lib/${folder}/current$`, 'm'));
});
