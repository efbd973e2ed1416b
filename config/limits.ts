/**
 * Every bound of the program, by name. A value that comes from outside (a file, a network, an
 * operator) is compared with one of these before memory or time is spent on it.
 */
export const limits = {
  /** Characters of a node's, a cluster's or a controller's name. */
  nameChars: 63,
  /** Of a version, a digest or another word that a node says of itself. */
  wordChars: 256,
  /** Of why a node says that it is not healthy. */
  healthReasonChars: 500,
  /** Characters of a version. */
  versionChars: 64,
  /** Characters of what a wish said beside its reason, in the audit record; more is left out there. */
  auditDetailsChars: 16_384,
  /** Characters of an operator's reason. */
  reasonChars: 1_000,
  /** Nodes in one cluster. */
  nodes: 5_000,
  /** Nodes that were removed and stay refused; the oldest is forgotten first. */
  removedNodesKept: 1_000,
  /** Labels on one node. */
  labels: 32,
  /** Groups of nodes of which so many must serve. */
  quorumGroups: 100,
  /** Bytes of one value in etcd (contract, section 4). */
  etcdValueBytes: 64 * 1024,
  /** Bytes of one node's part of a plan, so that a record of the node's journal holds its command. */
  planPartBytes: 48 * 1024,
  /** Operations in one etcd transaction (etcd refuses 129). */
  etcdTransactionOperations: 128,
  /** Bytes of the operations in one etcd transaction; etcd takes 1.5 MiB, the compares included. */
  etcdTransactionBytes: 1024 * 1024,
  /** Milliseconds for one unary call to etcd. */
  etcdCallMs: 2_000,
  /** The same where etcd has more than one member: the next one is asked then. */
  etcdMemberCallMs: 1_000,
  /** Terms kept in the lineage key. */
  lineageTerms: 64,
  /** Finished rollouts that are kept. */
  rolloutsKept: 50,
  /** Days for which finished rollouts are kept, if that is more. */
  rolloutsKeptDays: 90,
  /** Audit records that stay in etcd, about half a KB each; the oldest go first. */
  auditRecordsKept: 20_000,
  /** Unconsumed intents in etcd; one more is refused. */
  intents: 256,
  /** Outcomes of intents kept for their callers. */
  intentOutcomes: 128,
  /** Bytes of one gRPC message, either way. */
  grpcMessageBytes: 4 * 1024 * 1024,
  /** Milliseconds for a unary gRPC call between our own programs. */
  grpcCallMs: 5_000,
  /** Milliseconds that an agent has to say which epoch it knows, before the epoch is raised. */
  reEpochAskMs: 3_000,
  /** Milliseconds that the raising of the epoch waits for the adoption of the nodes that answered. */
  reEpochWaitMs: 10_000,
  /** Milliseconds that a caller waits until its wish is in force. */
  intentWaitMs: 20_000,
  /** Milliseconds in which a leader reads from the release repository what one plan needs; below that. */
  planReadMs: 15_000,
  /** Streams that one controller replica serves to watchers. */
  watchers: 1_000,
  /** Events waiting in the engine's queue. */
  engineQueue: 10_000,
  /** Events that the engine takes in one decision: each costs time by the number of nodes. */
  engineEventsAtOnce: 200,
  /** Bytes of a configuration file. */
  configBytes: 1024 * 1024,
  /** Bytes of a release manifest. */
  manifestBytes: 8 * 1024 * 1024,
  /** Bytes of a repository's index. */
  repositoryIndexBytes: 8 * 1024 * 1024,
  /** Files and folders in one release. */
  releaseEntries: 100_000,
  /** Bytes of one file in a release. */
  releaseFileBytes: 4 * 1024 * 1024 * 1024,
  /** Bytes of a whole release, unpacked. */
  releaseBytes: 16 * 1024 * 1024 * 1024,
  /** Unpacked bytes for each byte of the archive. */
  releaseRatio: 200,
  /** Characters of a path in a release. */
  releasePathChars: 1_024,
  /** Migrations in one release; how many of them one node may run at once is bounded by planPartBytes. */
  migrations: 1_000,
  /** Words of one command (argv). */
  argvWords: 64,
  /** Tries of a download. */
  downloadTries: 3,
  /** Characters of a command's id. */
  commandIdChars: 400,
  /** The highest epoch that is believed to a node: etcd's own goes on above it, and still counts exactly. */
  nodeEpoch: 2 ** 52,
  /** Tries of one command that a node may tell of. */
  commandAttempts: 1_000_000,
  /** Jobs of a node's journal, the last ones, that a leader looks at: twice what an agent keeps. */
  journalJobsHeard: 128,
  /** Problems of one preflight that a leader looks at. */
  problemsHeard: 50,
  /** Nodes that a way back leaves as they are, and names in the header of its plan. */
  leftOutNames: 500,
  /** Nodes of one rollout whose failure an operator may put aside by a resume. */
  forgivenNodes: 500,
  /** Words said on a node itself that go into the audit record in one transaction. */
  wordsOnNodeAtOnce: 20,
  /** Times that an agent asks a disk for the same, when it refuses. */
  diskTries: 3,
  /** Milliseconds before the second try; before the third twice as many. */
  diskPauseMs: 50,
  /** Milliseconds for the hook that keeps a node out of service which asks for an operator. */
  holdHookMs: 60_000,
  /** Milliseconds that a job waits for a clean-up which was told to end, and hangs. */
  cleanUpEndMs: 10_000,
  /** Bytes of one journal record. */
  journalRecordBytes: 64 * 1024,
  /** Finished jobs that a node's journal keeps. */
  journalJobsKept: 64,
  /**
   * Jobs of a node's journal from the one because of which it asks for an operator: they all stay, and one more
   * that puts nothing right, such as maintenance, is refused.
   */
  journalJobsAsking: 128,
  /** The same for one that may put the node right. */
  journalJobsToPutRight: 256,
  /** Times that one step is begun again after the agent was restarted. */
  journalRedo: 1,
  /** The same for a step that nothing leads back from: one of the way back, or after the commit. */
  journalRedoOnward: 5,
  /** Bytes of a hook's or a migration's output that are kept. */
  hookOutputBytes: 16 * 1024,
  /** Bytes of a probe's answer that are read. */
  probeAnswerBytes: 256 * 1024,
  /** Bytes that stay free on each filesystem of a node beside all that an upgrade writes there. */
  freeDiskBytes: 500 * 1024 * 1024,
  /** Bytes of a backup's manifest. */
  backupManifestBytes: 64 * 1024 * 1024,
  /** Levels of nesting in a configuration file. */
  configDepth: 16,
  /** Problems of a configuration that are listed; the rest is counted. */
  configProblems: 50,
  /** Controllers that a client or an agent may name. */
  controllers: 16,
  /** Endpoints of etcd that a controller may name. */
  etcdEndpoints: 16,
  /** Probes of one service. */
  probes: 16,
  /** Variables in the environment of a service, from the configuration. */
  environmentVariables: 256,
  /** Paths in one node's backup. */
  backupPaths: 64,
  /** Bytes of a certificate file or of a key file. */
  certificateFileBytes: 256 * 1024,
  /** Host names and addresses in one certificate. */
  certificateHosts: 32,
  /** Days that a certificate of a program or a person may be valid. */
  certificateDays: 90,
  /** Years that the cluster's certificate authority is valid. */
  authorityYears: 10,
  /** Milliseconds for the connection that explains why TLS failed. */
  tlsExplainMs: 5_000,
  /** Calls at a time on one connection to a node agent. */
  agentStreamsPerConnection: 100,
  /** Entries (files, folders, links) in one backup. */
  backupEntries: 1_000_000,
  /** Bytes of a backup key file. */
  backupKeyBytes: 16 * 1024,
  /** Bytes of a service's output file; a longer one is set aside at the next start. */
  serviceLogBytes: 10 * 1024 * 1024,
  /** Bytes of the record of a running service. */
  serviceRecordBytes: 64 * 1024,
  /** Milliseconds between the polite signal and SIGKILL for a hook or a migration that must end. */
  commandKillGraceMs: 2_000,
  /** Milliseconds for plexictl to connect to one controller before it tries the next. */
  controllerConnectMs: 5_000,
  /** Milliseconds that a follower of a rollout goes on trying while no controller answers. */
  followLostMs: 60_000,
  /** The longest pause, in milliseconds, between two tries to follow again. */
  followPauseMaxMs: 2_000,
  /** Rollouts that one answer of the history may hold. */
  historyRollouts: 1_000,
  /** Audit records shown at once. */
  auditListed: 1_000,
  /** Characters of one word of a command, or of one variable's value. */
  argvChars: 4_096,
  /** Milliseconds that a migration or a release's test may ask for. */
  commandTimeoutMs: 24 * 60 * 60 * 1000,
  /** Platforms of one release. */
  releaseArtifacts: 32,
  /** Tests in one release. */
  releaseTests: 100,
  /** Unpacked bytes that no ratio is asked of; below it nothing can fill a disk. */
  releaseRatioSlackBytes: 1024 * 1024,
  /** Bytes of an extended header in an archive; it holds one path. */
  archiveHeaderBytes: 8 * 1024,
  /** Bytes of the mark of a complete release. */
  completeMarkBytes: 4 * 1024,
  /** Versions in one release repository. */
  repositoryVersions: 10_000,
  /** Milliseconds that a build waits for another one which publishes the same version. */
  buildLockWaitMs: 30_000,
  /** Milliseconds between two looks at the lock of a version. */
  buildLockPollMs: 50,
  /** Milliseconds since which nobody has written to what a killed build left, before the next one removes it. */
  buildLeftMs: 24 * 60 * 60 * 1_000,
  /** Bytes of the lock of a version. */
  buildLockBytes: 4 * 1024,
  /** Milliseconds for the index or a manifest of a repository to arrive. */
  repositoryCallMs: 30_000,
  /** Milliseconds without a byte after which a download counts as broken. */
  downloadIdleMs: 30_000,
  /** Milliseconds before a broken download goes on; doubled with each try, and jittered. */
  downloadRetryMs: 250,
  /** Redirects that one request to a repository may follow. */
  downloadRedirects: 5,
  /** Milliseconds for one call of git. */
  gitCallMs: 60_000,
  /** Bytes of git's answer that are read. */
  gitAnswerBytes: 16 * 1024 * 1024,
  /** Controllers that an agent asks in one round of registration before it waits. */
  registerTries: 8,
  /** Differences between a folder and its manifest that are listed. */
  treeDifferences: 100,
  /** Milliseconds that `plexictl dev` gives a process to end before SIGKILL, and after it. */
  devStopMs: 10_000,
  /** Milliseconds until a dev cluster must be ready. */
  devReadyMs: 120_000,
  /** Milliseconds that services get to come back when a dev cluster is started again. */
  devServiceMs: 20_000,
  /** Nodes in a dev cluster: each is two processes on this one machine. */
  devNodes: 50,
  /** Controllers in a dev cluster. */
  devControllers: 7,
  /** The longest wait, in milliseconds, between two tries of a download. */
  downloadRetryMaxMs: 10_000,
  /** Bytes of one answer of etcd, such as a whole rollout of many nodes; gRPC's own bound is 4 MiB. */
  etcdAnswerBytes: 512 * 1024 * 1024,
  /**
   * Characters of a failure's sentence, in a node's journal and in etcd: two of them fit one record of the
   * journal, however they are written, and what many nodes say together still fits one value of etcd.
   */
  failureChars: 4_096,
  /** Services of one node. */
  services: 16,
  /** Secrets of one node. */
  secrets: 64,
  /** Bytes of one secret. */
  secretBytes: 16 * 1024,
  /** Bytes of a node's update log before it is set aside. */
  updateLogBytes: 5 * 1024 * 1024,
  /** Update logs that were set aside and are kept. */
  updateLogsKept: 4,
  /** Bytes of a hook's, migration's or test's own log; what is older goes. */
  hookLogBytes: 256 * 1024,
  /** Lines of a log that one call may ask for. */
  logTailLines: 10_000,
  /** Bytes of one piece of a log that is sent. */
  logPieceBytes: 64 * 1024,
  /** Milliseconds that a node waits for a person to start its service. */
  restartByHandMs: 24 * 60 * 60 * 1000,
  /** Milliseconds for taking over a service that runs already: its files are copied. */
  takeOverMs: 30 * 60 * 1000,
  /** Contexts in one client file. */
  contexts: 64,
  /** Keys of one group in a configuration file: comparing them all with each other takes its time. */
  configGroupKeys: 1_000,
  /** Characters of a key or a word of a file that a problem repeats. */
  configShownChars: 120,
  /** Bytes at the end of a log in which its last lines are looked for. */
  logTailBytes: 16 * 1024 * 1024,
  /** Copies of one release on a node: each staging anew of a damaged one makes another. */
  releaseCopies: 100,
  /** Releases that stay on a node when nothing needs them, the newest ones; the one that runs counts. */
  releasesKept: 3,
  /** Milliseconds for a service to be started by an operator's command or by systemd. */
  serviceStartMs: 60_000,
  /** Milliseconds for an operator's command or systemd to tell whether a service runs. */
  serviceStatusMs: 10_000,
  /** Bytes of one request at a node's local door. */
  byHandRequestBytes: 16 * 1024,
  /** Characters of a gRPC status as it is sent; other programs of gRPC take no longer headers. */
  statusChars: 8_000,
  /** Bytes of the manifests of installed releases that are kept as they were read. */
  knownManifestsBytes: 16 * 1024 * 1024,
} as const;
