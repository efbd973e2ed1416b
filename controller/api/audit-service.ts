/** AuditService: what was done in this cluster, for everybody who may look. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { AuditRecord, AuditServiceListResponse, type AuditServiceServer } from '../../gen/plexi/v1/audit.js';
import type { EtcdClient, EtcdEntry } from '../leadership/etcd.js';
import { readAudit } from '../state/audit.js';
import { newestAudit, verifyAudit } from '../state/audit-reader.js';
import type { ClusterKeys } from '../state/keys.js';
import type { AuditRecordValue } from '../state/records.js';
import { unary } from './rollouts-service.js';

export interface AuditServiceParts {
  readonly client: EtcdClient;
  readonly keys: ClusterKeys;
}

const limitDefault = 20;

export function auditService({
  client,
  keys,
}: AuditServiceParts): AuditServiceServer & UntypedServiceImplementation {
  return {
    list: unary(async (call) => {
      const { limit, verify } = call.request;
      if (limit < 0 || limit > limits.auditListed)
        throw new PlexiError('USAGE', `at most ${limits.auditListed} records are shown at once`);
      const entries = await newestAudit(client, keys, limit === 0 ? limitDefault : limit);
      const checked = verify ? await verifyAudit(client, keys) : undefined;
      return AuditServiceListResponse.fromPartial({
        records: entries.map(recordOf),
        ...(checked && {
          verification: {
            first: BigInt(checked.first),
            last: BigInt(checked.last.sequence),
            lastHash: checked.last.hash,
            problem: checked.problem,
          },
        }),
      });
    }),
  };
}

function recordOf(entry: EtcdEntry): AuditRecord {
  const record = readAudit(entry);
  const { sequence, at, what, rollout, hash } = record;
  return AuditRecord.fromPartial({
    sequence: BigInt(sequence),
    at: new Date(at),
    ...{ what, rollout, hash },
    who: word(record, 'who'),
    node: word(record, 'node'),
    text: textOf(record),
    json: entry.value,
  });
}

function textOf(record: AuditRecordValue): string {
  switch (record.what) {
    case 'leader':
      return `leads from term ${record.term}`;
    case 'wish':
      return wishText(record);
    case 'command':
      return `${word(record, 'commandId')} is commanded`;
    case 'outcome':
      return `${word(record, 'commandId')} ended ${word(record, 'outcome')}${faultText(record, ': ')}`;
    case 'by_hand':
      return `${word(record, 'commandId')}, by hand on the node, because ${word(record, 'reason')}, ended ${word(record, 'outcome')}${faultText(record, ': ')}`;
    case 'end':
      return `${record.rollout} ended ${word(record, 'phase')}: ${word(record, 'reason')}`;
    default:
      return `a record of another version: ${record.what}`;
  }
}

function wishText(record: AuditRecordValue): string {
  const reason = word(record, 'reason');
  const fault = faultText(record, ', refused: ');
  return `wished ${word(record, 'wish')}${detailsText(record)}${reason === '' ? '' : `, because ${reason}`}${fault}`;
}

/** The node and the version that a wish names, or the rollout that it started or was for. */
function detailsText({ details, rollout }: AuditRecordValue): string {
  const { node, version, on } = (details ?? {}) as Readonly<Record<string, unknown>>;
  const words = [node, version, on === undefined ? undefined : on === true ? 'on' : 'off'];
  const told = words.filter((one) => typeof one === 'string' && one !== '');
  return `${told.length === 0 ? '' : ` ${told.join(' ')}`}${rollout === '' ? '' : ` (${rollout})`}`;
}

function faultText({ error }: AuditRecordValue, before: string): string {
  const { message } = (error ?? {}) as { message?: unknown };
  return typeof message === 'string' ? `${before}${message}` : '';
}

function word(record: AuditRecordValue, name: string): string {
  const value = record[name];
  return typeof value === 'string' ? value : '';
}
