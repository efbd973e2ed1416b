/**
 * Every default of the configuration, in one place (design.md, section 7; update.yml: contract,
 * section 7). The schemas take their defaults from here, the sample files repeat them, and a test
 * compares the two, so that what an operator reads is what the programs do.
 */

/** What holds where a configuration file says nothing. Milliseconds unless the name says otherwise. */
export const defaults = {
  versionScheme: 'plexi',
  zoneLabel: 'zone',
  logLevel: 'info',
  leadership: { ttlSeconds: 10, marginMs: 3_000 },
  rollout: { soakMs: 30_000, failureBudget: 0, canary: 0, backupKeep: 3 },
  timeouts: {
    preflightMs: 60_000,
    stageMs: 3_600_000,
    maintenanceMs: 300_000,
    stopMs: 30_000,
    backupMs: 1_800_000,
    migrateMs: 600_000,
    applyMs: 90_000,
    probeMs: 60_000,
    testMs: 600_000,
    rollbackMs: 300_000,
  },
  probe: {
    goodInARow: 3,
    spacingMs: 100,
    /** Distance between the first two samples after a start; it grows to `intervalMaxMs`. */
    intervalFirstMs: 20,
    intervalMaxMs: 1_000,
    tryMs: 5_000,
  },
  node: {
    /** Between two samples of the probes while nothing is going on. */
    probeIntervalMs: 5_000,
    /** Between two registrations with a controller. */
    registerIntervalMs: 30_000,
    /** Without a word from a controller for this long, an uncommitted job that nothing works on goes back. */
    orphan: { afterMs: 600_000, action: 'roll_back' },
  },
  nodeBackup: { paths: ['data', 'config'] },
  update: {
    backup: { enabled: true, directory: 'backups/updates', encryption: true, retentionDays: 30 },
    behavior: { autoBackup: true, autoRestart: true, maintenanceMode: true, clusterCoordination: true },
    safety: {
      requireConfirmation: true,
      validateMigrations: true,
      testAfterUpdate: true,
      rollbackOnFailure: true,
    },
    clustering: {
      enabled: true,
      coordinationTimeoutSeconds: 300,
      rollingUpdates: true,
      maxConcurrentNodes: 1,
    },
  },
} as const;
