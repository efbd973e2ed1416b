/** 0r1: a message can be pinned. */
import { migrate } from './migrate.mjs';

migrate({
  from: 2,
  to: 3,
  up: (message) => ({ ...message, pinned: false }),
  down: ({ pinned: _pinned, ...message }) => message,
});
