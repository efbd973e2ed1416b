/**
 * The directions in which one room may import another (ARCHITECTURE.md). `npm run lint` applies these
 * rules to the tree; test/architecture.test.ts shows that each of them catches what it forbids.
 */
const anyTest = '\\.test\\.ts$';

/** From a room to what it must not import. */
function forbid(name, comment, from, to) {
  return { name, comment, severity: 'error', from, to };
}

module.exports = {
  forbidden: [
    forbid('no-cycle', 'No file imports itself through others.', {}, { circular: true }),
    forbid('resolvable', 'Every import exists.', {}, { couldNotResolve: true }),
    forbid(
      'config-stands-alone',
      'config/ imports nothing of ours.',
      { path: '^config/', pathNot: anyTest },
      { path: '^(release|controller|node-agent|plexictl|test|gen)/' },
    ),
    forbid(
      'release-imports-config-only',
      'release/ imports config/ and nothing else of ours.',
      { path: '^release/', pathNot: anyTest },
      { path: '^(controller|node-agent|plexictl|test|gen)/' },
    ),
    forbid(
      'controller-alone',
      'controller, node-agent and plexictl never import one another.',
      { path: '^controller/' },
      { path: '^(node-agent|plexictl)/' },
    ),
    forbid(
      'node-agent-alone',
      'controller, node-agent and plexictl never import one another.',
      { path: '^node-agent/' },
      { path: '^(controller|plexictl)/' },
    ),
    forbid(
      'plexictl-alone',
      'controller, node-agent and plexictl never import one another; plexictl/dev starts the others as processes.',
      { path: '^plexictl/' },
      { path: '^(controller|node-agent)/' },
    ),
    forbid(
      'deciding-is-pure',
      'controller/rollout imports types and release/version; nothing that acts.',
      { path: '^controller/rollout/', pathNot: anyTest },
      { pathNot: '^(controller/rollout/|release/version)', dependencyTypesNot: ['type-only'] },
    ),
    forbid(
      'etcd-behind-two-rooms',
      'Only controller/leadership and controller/state know etcd.',
      {
        path: '^(config|release|controller|node-agent|plexictl)/',
        pathNot: `^controller/(leadership|state)/|${anyTest}`,
      },
      { path: '(^|/)node_modules/etcd3/' },
    ),
    forbid(
      'no-test-in-the-program',
      'The program imports neither tests nor what only tests need.',
      { path: '^(config|release|controller|node-agent|plexictl)/', pathNot: anyTest },
      { path: `^test/|${anyTest}|(^|/)node_modules/(fast-check|tsx)/` },
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
