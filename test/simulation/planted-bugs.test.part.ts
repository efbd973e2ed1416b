/**
 * Bugs that somebody could write: for each the file, the words that are right, and the words that are
 * not. They exist only in the process in which a test plants them (planted-loader.mjs); the program has
 * no switch for any of them. `seed` is one whose history brought the bug to light when it was planted.
 */

export interface PlantedBug {
  readonly name: string;
  readonly file: string;
  readonly right: string;
  readonly wrong: string;
  readonly seed: number;
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: 'a node does not compare tokens',
    file: 'node-agent/api/fence.ts',
    right: 'if (order < 0 || (order === 0 && holder !== this.state.holder)) {',
    wrong: 'if (order === 0 && holder !== this.state.holder) {',
    seed: 7,
  },
  {
    name: 'the fence is raised in memory alone',
    file: 'node-agent/api/fence.ts',
    right: '    await this.disk.write(encodeFence(next));\n    this.state = next;',
    wrong: '    this.state = next;',
    seed: 1,
  },
  {
    name: 'one node more than the budget',
    file: 'controller/rollout/budget.ts',
    right: 'if (held.length >= world.budget.max) return undefined;',
    wrong: 'if (held.length > world.budget.max) return undefined;',
    seed: 2,
  },
  {
    name: 'a slot is freed before the soak is over',
    file: 'controller/rollout/soak.ts',
    right: 'return soakedForMs(view, node, nowMs) >= soakMs;',
    wrong: 'return true;',
    seed: 1,
  },
  {
    name: 'commands are sent before they are stored',
    file: 'controller/execution/run-loop.ts',
    right: 'if (await this.isPersisted(before, world, writes)) {',
    wrong:
      'for (const effect of effects) this.parts.run(effect, world);\n      if (await this.isPersisted(before, world, writes)) {',
    seed: 1,
  },
  {
    name: 'taking a slot does not compare the other slots',
    file: 'controller/state/world-writes.ts',
    right: "    { kind: 'rangeNotAfter', prefix: keys.slots, revision: seen.slots },\n",
    wrong: '',
    seed: 1,
  },
  {
    name: 'taking a slot does not compare the wishes',
    file: 'controller/state/world-writes.ts',
    right:
      "guards.push({ kind: 'rangeNotAfter', prefix: keys.rolloutIntents(rollout.id), revision: seen.intents });",
    wrong: '{}',
    seed: 1,
  },
  {
    name: 'the leader does not compare its term when it writes',
    file: 'controller/leadership/fenced-store.ts',
    right: '[leads, ...guards]',
    wrong: '[...guards]',
    seed: 2,
  },
  {
    name: 'a record of a node is written over whatever stands there',
    file: 'controller/state/world-writes.ts',
    right: "guards.push({ kind: 'modRevision', key, equals: lookup(key)?.modRevision ?? 0n });",
    wrong: '',
    seed: 1,
  },
  {
    name: 'a command that has ended is executed again',
    file: 'node-agent/api/command-service.ts',
    right: 'result: Promise.resolve(toCommandResult(known.result)) };',
    wrong: 'result: this.executor.start(known).then(toCommandResult) };',
    seed: 2,
  },
  {
    name: 'a result is told before it is stored',
    file: 'node-agent/upgrade/job-run.ts',
    right: "await this.append({ kind: 'finished', result });",
    wrong: "void this.append({ kind: 'finished', result });",
    seed: 1,
  },
  {
    name: 'a new leader does not adopt the nodes',
    file: 'controller/rollout/effects.ts',
    right: "if (isOurs && !view.adopted) return { kind: 'adopt', node: node.id };",
    wrong: 'void isOurs;',
    seed: 1,
  },
  {
    name: 'attempts are not counted',
    file: 'controller/rollout/change.ts',
    right: 'const attempt = (node.attempts[kind] ?? 0) + 1;',
    wrong: 'const attempt = 1;',
    seed: 14,
  },
  {
    name: 'a node goes back after its commit',
    file: 'node-agent/upgrade/job-run.ts',
    right:
      "return this.job.committed ? this.finish({ outcome: 'failed', ...stopped }) : this.goBack(stopped);",
    wrong: 'return this.goBack(stopped);',
    seed: 63,
  },
  {
    name: 'a restart after the commit goes back',
    file: 'node-agent/journal/recover.ts',
    right: "if (open.committed) return { kind: 'finish', from: step };",
    wrong: "if (open.committed) return { kind: 'roll_back', interrupted: step };",
    seed: 15,
  },
  {
    name: 'the failure budget is not looked at',
    file: 'controller/rollout/course.ts',
    right: 'if (first !== undefined && failed.length > policy.failureBudget)',
    wrong: 'if (first !== undefined && failed.length > 1_000)',
    seed: 1,
  },
  {
    name: 'a paused rollout starts nodes',
    file: 'controller/rollout/course.ts',
    right: "return enter(world, rollout, 'paused', course.reason);",
    wrong: 'return stepForward(world, rollout, phase, nowMs);',
    seed: 7,
  },
  {
    name: 'a plan is followed on a node that has changed',
    file: 'node-agent/api/command-service.ts',
    right: "if ((before?.digest ?? '') !== (order.from?.digest ?? '')) {",
    wrong: "if (before?.digest === 'never') {",
    seed: 21,
  },
  {
    name: 'seq is not raised',
    file: 'controller/execution/dispatch.ts',
    right: 'this.seqs.set(node, (this.seqs.get(node) ?? 0n) + 1n);',
    wrong: '',
    seed: 1,
  },
  {
    name: 'a lease is believed after its end',
    file: 'controller/leadership/campaign.ts',
    right: 'if (environment.nowMs() >= untilMs)',
    wrong: 'if (environment.nowMs() < 0)',
    seed: 75,
  },
  {
    name: 'a node commits before its health was seen',
    file: 'node-agent/upgrade/phases.ts',
    right: '  probeStep,\n  testStep,\n  commitStep,',
    wrong: '  commitStep,\n  probeStep,\n  testStep,',
    seed: 1,
  },
  {
    name: 'maintenance stays on after a node went back',
    file: 'node-agent/upgrade/phases.ts',
    right: '  probeOldStep,\n  leaveMaintenanceAfterRollbackStep,',
    wrong: '  probeOldStep,',
    seed: 1,
  },
  {
    name: 'a node that cannot be reached counts as lost at once',
    file: 'controller/rollout/soak.ts',
    right: 'silentForMs(world, node, nowMs) <= unknownMaxMs',
    wrong: 'silentForMs(world, node, nowMs) <= 100',
    seed: 1,
  },
  {
    name: 'no backup is made',
    file: 'node-agent/upgrade/phases.ts',
    right: '  backupStep,\n  migrateStep,',
    wrong: '  migrateStep,',
    seed: 1,
  },
  {
    name: 'a migration is run again after a restart',
    file: 'node-agent/upgrade/migrate.ts',
    right: "onRestart: 'roll_back',",
    wrong: "onRestart: 'redo',",
    seed: 26,
  },
  {
    name: 'an open job is forgotten at a restart',
    file: 'node-agent/upgrade/executor.ts',
    right: 'if (open === undefined) return this.keepHeld();\n    if (ownByHand',
    wrong: 'if (open === undefined || open.result === undefined) return this.keepHeld();\n    if (ownByHand',
    seed: 1,
  },
  {
    name: 'nodes go back beyond the budget',
    file: 'controller/rollout/rollback.ts',
    right: '(slotOf(world.slots, next.id) ?? freeIndex(world));',
    wrong: '(slotOf(world.slots, next.id) ?? freeIndex(world) ?? String(world.slots.size + 7));',
    seed: 22,
  },
  {
    name: 'a node that needs an operator loses its slot',
    file: 'controller/rollout/change.ts',
    right: 'slots: withStuck(world.slots, slot)',
    wrong: 'slots: withoutSlotOf(world.slots, id)',
    seed: 75,
  },
  {
    name: 'an end does not tell of nodes that need an operator',
    file: 'controller/rollout/ends.ts',
    right: 'if (stranded.length > 0) {',
    wrong: 'if (stranded.length > 1_000) {',
    seed: 63,
  },
  {
    name: 'a hold is not looked at',
    file: 'controller/rollout/course.ts',
    right: "const isHeld = rollout.plan.header.direction === 'forward' && world.holds.has(node);",
    wrong: 'const isHeld = false;',
    seed: 2,
  },
  {
    name: 'a freeze is not looked at',
    file: 'controller/execution/cluster-facts.ts',
    right: '    ...freezeProblems(keys, entries),\n',
    wrong: '',
    seed: 78,
  },
  {
    name: 'the slot of maintenance by hand goes with the upgrade',
    file: 'controller/rollout/change.ts',
    right: 'held !== undefined && own\n',
    wrong: "held !== undefined && own && id === ''\n",
    seed: 107,
  },
  {
    name: 'a slot of maintenance by hand is freed once the node is out',
    file: 'controller/rollout/manual.ts',
    right: "maintenance.wanted === 'out'\n        ?",
    wrong: 'maintenance.attempt > 0\n        ?',
    seed: 21,
  },
  {
    name: 'a node that needs an operator is upgraded by the next rollout',
    file: 'controller/rollout/plan-check.ts',
    right: "strategy !== 'none' && stuck.includes(node)",
    wrong: "strategy !== 'none' && stuck.includes('')",
    seed: 193,
  },
  {
    name: 'a removal frees the slot, and is stored after that',
    file: 'controller/state/world-writes.ts',
    right: 'operations: group.operations.filter(({ key }) => !own.has(key)),',
    wrong: 'operations: group.operations,',
    seed: 225,
  },
  {
    name: 'a new leader does not know which nodes nobody has adopted yet',
    file: 'controller/state/load-world.ts',
    right: '!spec.removed && (status?.joined ?? true),',
    wrong: '!spec.removed && spec.removed,',
    seed: 189,
  },
  {
    name: 'a node that was let back is not adopted',
    file: 'controller/rollout/recovery.ts',
    right: 'return isRestored || viewOf(world, node).joined;',
    wrong: 'return isRestored;',
    seed: 135,
  },
  {
    name: 'the slot of a node that is being removed goes to the next one before that is stored',
    file: 'controller/execution/run-loop.ts',
    right: "const isRemoval = events.some(({ kind }) => kind === 'removed');",
    wrong: 'const isRemoval = events.length < 0;',
    seed: 547,
  },
  {
    name: 'an end calls nodes changed that nobody has changed',
    file: 'controller/rollout/ends.ts',
    right: 'return isDone && runningOn(world, rollout, part.node)?.digest !== part.to.digest;',
    wrong: 'return isDone && rollout.nodes.size % 2 === 0;',
    seed: 2,
  },
];
