/**
 * The protocol of a version that is not written yet: every message between controller and agent carries
 * fields that no reader of today knows, inside each other too, and where a test asks for it words as well.
 */
import type { BinaryWriter } from '@bufbuild/protobuf/wire';
import * as protocol from '../../gen/plexi/v1/node_agent.js';

interface Message<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
}

/** The tags of fields that nobody has: a number, a text, and bytes that look like a message. */
const numberTag = 1_000 << 3;
const textTag = (1_001 << 3) | 2;
const bytesTag = (1_002 << 3) | 2;

/** How many messages were written with fields of another version. */
export interface NewerProtocol {
  readonly written: number;
  /** Everybody speaks as today again. */
  end(): void;
}

/** What a later version says in the place of a word of today. */
export interface NewerWords {
  readonly status?: (status: protocol.NodeStatus) => protocol.NodeStatus;
  readonly progress?: (progress: protocol.CommandProgress) => protocol.CommandProgress;
  readonly result?: (result: protocol.CommandResult) => protocol.CommandResult;
}

/** Lets everybody in this process write as a later version does, until it is ended. */
export function speakNewer(words: NewerWords = {}): NewerProtocol {
  let written = 0;
  const endings: (() => void)[] = [];
  const extend = <T>(message: Message<T>, say: (value: T) => T = (value) => value): void => {
    const { encode } = message;
    message.encode = (value, writer) => {
      written++;
      const out = encode.call(message, say(value), writer);
      return out
        .uint32(numberTag)
        .uint64(7n)
        .uint32(textTag)
        .string('of a later version')
        .uint32(bytesTag)
        .bytes(Uint8Array.of(0x0a, 0x01, 0x78));
    };
    endings.push(() => {
      message.encode = encode;
    });
  };
  extend(protocol.Token);
  extend(protocol.LineageEntry);
  extend(protocol.Failure);
  extend(protocol.Release);
  extend(protocol.DescribeRequest);
  extend(protocol.DescribeResponse);
  extend(protocol.NodeStatus, words.status);
  extend(protocol.AdoptRequest);
  extend(protocol.AdoptResponse);
  extend(protocol.JournalJob);
  extend(protocol.ExecuteRequest);
  extend(protocol.Command);
  extend(protocol.PreflightStep);
  extend(protocol.StageStep);
  extend(protocol.UpgradeStep);
  extend(protocol.Timeouts);
  extend(protocol.ProbePolicy);
  extend(protocol.BackupPolicy);
  extend(protocol.MigrationStep);
  extend(protocol.ExecuteResponse);
  extend(protocol.CommandEvent);
  extend(protocol.CommandAccepted);
  extend(protocol.CommandProgress, words.progress);
  extend(protocol.CommandResult, words.result);
  extend(protocol.WatchStatusRequest);
  extend(protocol.WatchStatusResponse);
  return {
    get written() {
      return written;
    },
    end() {
      for (const end of endings.splice(0)) end();
    },
  };
}
