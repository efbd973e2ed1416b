/** Every partition of controllers, agents and members of etcd; a few of them are in `npm test`. */
process.env.PLEXI_DEEP_MINUTES ??= '10';
await import('../cluster/partitions.test.js');

export {};
