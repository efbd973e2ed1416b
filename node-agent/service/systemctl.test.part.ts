/**
 * A `systemctl` for tests: a shell script that comes first on PATH, writes its calls down, and keeps the
 * state of one unit in files. What it starts is a real process. It knows the words that are asked of it
 * here and nothing more; how a real systemd behaves is not shown by it.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const script = `#!/bin/sh
dir=$(dirname "$0")
[ "$1" = --no-ask-password ] && shift
echo "$*" >> "$dir/calls"
[ -e "$dir/broken" ] && { echo 'Failed to connect to bus: Host is down' >&2; exit 1; }
value() { cat "$dir/unit/$1" 2>/dev/null; }
died() { [ -n "$(value pid)" ] && ! kill -0 "$(value pid)" 2>/dev/null; }
case "$1" in
  show)
    if died; then rm -f "$dir/unit/pid"; echo failed > "$dir/unit/ActiveState"; echo failed > "$dir/unit/SubState"; fi
    for name in LoadState ActiveState SubState ControlGroup UnitFileState Restart KillMode; do
      echo "$name=$(value $name)"
    done
    echo "MainPID=$(value pid || echo 0)"
    read up rest < /proc/uptime
    echo "ActiveEnterTimestampMonotonic=\${up%.*}000000";;
  start)
    [ -e "$dir/refuses" ] && { echo 'Job failed. See "journalctl -xe" for details.' >&2; exit 1; }
    sleep 600 > /dev/null 2>&1 &
    echo $! > "$dir/unit/pid"; echo active > "$dir/unit/ActiveState"; echo running > "$dir/unit/SubState";;
  stop)
    [ -e "$dir/denied" ] && { echo 'Access denied' >&2; exit 4; }
    [ -e "$dir/stubborn" ] && exec sleep 600
    kill "$(value pid)"; rm "$dir/unit/pid"
    echo inactive > "$dir/unit/ActiveState"; echo dead > "$dir/unit/SubState";;
  kill) kill -9 "$(value pid)";;
  reset-failed) exit 1;;
esac
`;

/** A stand-in with one unit, loaded and not running. */
export class StandInSystemctl {
  readonly folder = mkdtempSync(join(tmpdir(), 'plexi-systemctl-'));
  private readonly pathBefore = process.env.PATH;

  constructor() {
    mkdirSync(join(this.folder, 'unit'));
    writeFileSync(join(this.folder, 'systemctl'), script);
    chmodSync(join(this.folder, 'systemctl'), 0o755);
    const fine = { LoadState: 'loaded', ActiveState: 'inactive', SubState: 'dead', UnitFileState: 'static' };
    this.set({ ...fine, Restart: 'no', KillMode: 'mixed' });
    process.env.PATH = `${this.folder}:${this.pathBefore}`;
  }

  /** Properties of the unit, in systemd's words. */
  set(values: Record<string, string>): void {
    for (const [name, value] of Object.entries(values))
      writeFileSync(join(this.folder, 'unit', name), `${value}\n`);
  }

  /** `stubborn`: stop does not end; `denied`: it is refused; `refuses`: start fails; `broken`: no systemd. */
  mark(name: 'stubborn' | 'denied' | 'refuses' | 'broken'): void {
    writeFileSync(join(this.folder, name), '');
  }

  /** The calls that change something, in their order. */
  calls(): string[] {
    const file = join(this.folder, 'calls');
    const all = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
    return all.filter((call) => !call.startsWith('show'));
  }

  /** The process of the unit; undefined when it has none. */
  pid(): number | undefined {
    const file = join(this.folder, 'unit', 'pid');
    const pid = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
    return pid > 0 ? pid : undefined;
  }

  /** PATH is as it was, and what the unit started is gone. */
  remove(): void {
    const pid = this.pid();
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    process.env.PATH = this.pathBefore;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
