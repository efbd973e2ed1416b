/**
 * The local upgrade, as a list. Read it top to bottom: that is what happens on a node, and below it
 * what happens when a step before `commit` fails.
 *
 * The version is committed after health, and maintenance ends after that (design, decision 11).
 */

import { applyStep } from './apply.js';
import { awaitStartStep } from './await-start.js';
import { backupStep } from './backup.js';
import { commitStep } from './commit.js';
import {
  enterMaintenanceStep,
  leaveMaintenanceAfterRollbackStep,
  leaveMaintenanceStep,
} from './maintenance.js';
import { migrateStep } from './migrate.js';
import type { Phase } from './phase.js';
import { probeStep } from './probe.js';
import { probeOldStep, restoreStep, startOldStep, stopNewStep, switchBackStep } from './roll-back.js';
import { testStep } from './run-tests.js';
import { stopStep } from './stop.js';

export const upgradePhases: readonly Phase[] = [
  enterMaintenanceStep,
  stopStep,
  backupStep,
  migrateStep,
  applyStep,
  awaitStartStep,
  probeStep,
  testStep,
  commitStep,
  leaveMaintenanceStep,
];

export const rollBackPhases: readonly Phase[] = [
  stopNewStep,
  restoreStep,
  switchBackStep,
  startOldStep,
  probeOldStep,
  leaveMaintenanceAfterRollbackStep,
];
