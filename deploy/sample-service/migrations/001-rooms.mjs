/** 0b1: every message stands in a room; what was written before stands in the lobby. */
import { migrate } from './migrate.mjs';

migrate({
  from: 1,
  to: 2,
  up: (message) => ({ ...message, room: 'lobby' }),
  down: ({ room: _room, ...message }) => message,
});
