/** The folders that hold TypeScript of ours: what is type-checked, tested, and held to the import directions. */
export const rooms = ['config', 'release', 'controller', 'node-agent', 'plexictl', 'test'];
