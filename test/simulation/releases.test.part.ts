/**
 * What real controllers plan from: two releases with a migration between them, and a policy as a
 * controller's configuration says it.
 */
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { sha256 } from '../../controller/state/load-world.js';
import { printManifest, type ReleaseManifest } from '../../release/manifest.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import { sampleManifest, sampleMigration } from '../../release/sample-release.test.part.js';
import { releaseAt } from '../scenarios/sample-plan.test.part.js';
import type { Drawn, Places } from './drawn.test.part.js';
import { versions } from './host.test.part.js';

const manifests = new Map(
  Object.values(versions).map((version) => [version as string, manifestOf(version)] as const),
);

function manifestOf(version: string): ReleaseManifest {
  const manifest = sampleManifest(version, version === versions.new ? [sampleMigration('001')] : []);
  const artifacts = manifest.artifacts.map((it) => ({ ...it, treeDigest: releaseAt(version).digest }));
  return { ...manifest, artifacts };
}

/** Both releases; their bytes are never asked for, since staging is modelled. */
export const modelRepository = Object.assign({} as ReleaseRepository, {
  location: 'paper',
  list: () => Promise.resolve([...manifests.keys()].map((version) => ({ version }))),
  manifest: (version: string) => {
    const manifest = manifests.get(version);
    if (manifest === undefined)
      return Promise.reject(new PlexiError('RELEASE_NOT_FOUND', `there is no ${version}`));
    const bytes = printManifest(manifest);
    return Promise.resolve({ bytes, sha256: sha256(bytes.toString()), manifest });
  },
});

/** The one group that there may be: every node. */
function groupsOf({ minAvailable }: Places) {
  return minAvailable === null ? [] : [{ name: 'all', labels: {}, minAvailable }];
}

/** What a controller of this history has loaded. */
export function configOf(name: string, { policy, places }: Drawn): ControllerConfig {
  const { soakMs, failureBudget, timeouts, probe, backupRule } = policy;
  return Object.assign({} as ControllerConfig, {
    ...{
      id: name,
      cluster: 'paper',
      address: `${name}:1`,
      tls: {},
      zoneLabel: 'zone',
      versionScheme: 'plexi',
    },
    rollout: {
      ...{ soakMs, failureBudget, timeouts, probe, backupKeep: backupRule.keep },
      ...{ maxPerZone: places.maxPerZone, groups: groupsOf(places), canary: 0 },
    },
    update: {
      clustering: {
        ...{ enabled: true, rollingUpdates: true, maxConcurrentNodes: policy.maxConcurrent },
        coordinationTimeoutSeconds: policy.unknownMaxMs / 1_000,
      },
      safety: {
        ...{ rollbackOnFailure: policy.rollbackOnFailure, testAfterUpdate: policy.tests },
        validateMigrations: policy.checkMigrations,
      },
      backup: { enabled: true, ...backupRule },
      behavior: {
        ...{ autoBackup: true, clusterCoordination: true, maintenanceMode: policy.maintenanceHooks },
        autoRestart: !policy.restartByHand,
      },
    },
  });
}
