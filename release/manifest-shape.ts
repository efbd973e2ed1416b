/**
 * The shape of a release's manifest in code. Types only: how it is read, and what is true of every
 * manifest that was read, stands in manifest.ts.
 */

/** One regular file of a release. */
export interface ReleaseFile {
  /** Relative to the release's folder, `/` between segments. */
  path: string;
  /** Permission bits; octal digits as text in the JSON, for instance "0755". */
  mode: number;
  sizeBytes: number;
  sha256: string;
}

/** The archive for one kind of machine. */
export interface ReleaseArtifact {
  /** As in `process.platform`, or `any`. */
  os: string;
  /** As in `process.arch`, or `any`. */
  arch: string;
  /** Name of the archive, beside the manifest. */
  file: string;
  sizeBytes: number;
  sha256: string;
  unpackedBytes: number;
  /** What `treeDigest(files)` gives. */
  treeDigest: string;
  files: ReleaseFile[];
}

/** A change of data with its way back; commands are argv, run in the release's folder. */
export interface ReleaseMigration {
  id: string;
  scope: 'node' | 'cluster';
  up: string[];
  down: string[];
  /** Says, by exit code 0, that `up` would work; it runs beside the old release and changes nothing. */
  check?: string[];
  checksum: string;
  timeoutMs: number;
}

/** How the service of a release is started and stopped. */
export interface ReleaseService {
  start: string[];
  env: Record<string, string>;
  stopSignal: string;
}

/** A command that proves a release after it was started. */
export interface ReleaseTest {
  name: string;
  command: string[];
  timeoutMs: number;
  /**
   * A text, taken literally, that must not stand in what the service has printed since it was started
   * for this release.
   */
  mustNotLog?: string;
}

/** All that is known of a release. `migrations` is cumulative: every one ever, in order. */
export interface ReleaseManifest {
  schema: 1;
  name: string;
  version: string;
  /** RFC 3339, UTC. */
  createdAt: string;
  /** The commit it was built from; `-dirty` at its end when the tree had other changes. */
  sourceCommit: string | null;
  artifacts: ReleaseArtifact[];
  migrations: ReleaseMigration[];
  service: ReleaseService;
  tests: ReleaseTest[];
}
