/**
 * update.yml, key by key as in the contract, section 7. All keys may be left out. Invariant: the
 * words in the file are the seed's; in code only the units are added to the names.
 */
import * as z from 'zod';
import { defaults } from '../defaults.js';
import { limits } from '../limits.js';
import { pathBelowRoot } from './fields.js';
import { isOwnEntry } from './node-agent.js';

const { backup, behavior, safety, clustering } = defaults.update;

const backupSchema = z
  .strictObject({
    enabled: z.boolean().default(backup.enabled),
    directory: pathBelowRoot()
      .refine((path) => !isOwnEntry(path), "is the agent's own; name another folder for backups")
      .refine(
        (path) => !isBackedUp(path),
        'would back up its own backups; name a folder outside data and config',
      )
      .default(backup.directory),
    encryption: z.boolean().default(backup.encryption),
    retention_days: z.int().min(0).max(3_650).default(backup.retentionDays),
  })
  .transform((value) => ({
    enabled: value.enabled,
    directory: value.directory,
    encryption: value.encryption,
    retentionDays: value.retention_days,
  }));

const behaviorSchema = z
  .strictObject({
    auto_backup: z.boolean().default(behavior.autoBackup),
    auto_restart: z.boolean().default(behavior.autoRestart),
    maintenance_mode: z.boolean().default(behavior.maintenanceMode),
    cluster_coordination: z.boolean().default(behavior.clusterCoordination),
  })
  .transform((value) => ({
    autoBackup: value.auto_backup,
    autoRestart: value.auto_restart,
    maintenanceMode: value.maintenance_mode,
    clusterCoordination: value.cluster_coordination,
  }));

const safetySchema = z
  .strictObject({
    require_confirmation: z.boolean().default(safety.requireConfirmation),
    validate_migrations: z.boolean().default(safety.validateMigrations),
    test_after_update: z.boolean().default(safety.testAfterUpdate),
    rollback_on_failure: z.boolean().default(safety.rollbackOnFailure),
  })
  .transform((value) => ({
    requireConfirmation: value.require_confirmation,
    validateMigrations: value.validate_migrations,
    testAfterUpdate: value.test_after_update,
    rollbackOnFailure: value.rollback_on_failure,
  }));

const clusteringSchema = z
  .strictObject({
    enabled: z.boolean().default(clustering.enabled),
    coordination_timeout: z.int().min(1).max(604_800).default(clustering.coordinationTimeoutSeconds),
    rolling_updates: z.boolean().default(clustering.rollingUpdates),
    max_concurrent_nodes: z.int().min(1).max(limits.nodes).default(clustering.maxConcurrentNodes),
  })
  .transform((value) => ({
    enabled: value.enabled,
    coordinationTimeoutSeconds: value.coordination_timeout,
    rollingUpdates: value.rolling_updates,
    maxConcurrentNodes: value.max_concurrent_nodes,
  }));

/** Whether a path stands in what a node backs up, as long as nothing else is configured there. */
function isBackedUp(path: string): boolean {
  return defaults.nodeBackup.paths.some((kept) => kept === path.split('/')[0]);
}

/** The schema of update.yml: one key, `update_system`. */
export const updateSchema = z
  .strictObject({
    update_system: z.strictObject({
      backup: backupSchema.prefault({}),
      behavior: behaviorSchema.prefault({}),
      safety: safetySchema.prefault({}),
      clustering: clusteringSchema.prefault({}),
    }),
  })
  .transform((value) => value.update_system);

/** The policy that all controllers of a cluster load alike. */
export type UpdateConfig = z.output<typeof updateSchema>;
