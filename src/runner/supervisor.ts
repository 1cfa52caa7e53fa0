/**
 * Tells systemd how a service does (sd_notify): that it is ready, that it lives, that it ends. Without
 * NOTIFY_SOCKET in the environment it does nothing. Node cannot send datagrams to a unix socket, so
 * systemd's own systemd-notify does; the unit needs NotifyAccess=all.
 */
import { execFile } from 'node:child_process';

type Environment = Readonly<Record<string, string | undefined>>;

export class Supervisor {
  readonly #socket: string | undefined;
  readonly #beat: number;
  readonly #complain: (reason: string) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param complain gets one line, once, when systemd cannot be told */
  constructor(environment: Environment, complain: (reason: string) => void) {
    this.#socket = environment['NOTIFY_SOCKET'];
    // sd_watchdog_enabled(3): a sign of life at half the interval, in microseconds.
    this.#beat = Number(environment['WATCHDOG_USEC'] ?? 0) / 2000;
    this.#complain = complain;
  }

  ready(): void {
    this.#tell('READY=1');
    if (this.#beat > 0 && this.#timer === undefined) {
      // The timer shows that the event loop turns, which is all that can hang here.
      this.#timer = setInterval(() => this.#tell('WATCHDOG=1'), this.#beat);
    }
  }

  stopping(): void {
    this.#tell('STOPPING=1');
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #tell(state: string): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    const env = { PATH: '/usr/bin:/bin', NOTIFY_SOCKET: socket };
    execFile('systemd-notify', [state], { env }, (error) => {
      if (error !== null) this.#complain(`systemd was not told ${state}: ${error.message.trim()}`);
    });
  }
}
