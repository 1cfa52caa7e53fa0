/** Texts that the host's own services read: cron, systemd, logrotate. Pure. */

export interface Service {
  readonly user: string;
  readonly spool: string;
  /** The words that start picorelay-cron. */
  readonly command: readonly string[];
  /** The log's file, where the log is one. */
  readonly log: string | undefined;
  /** The control folder, where it is another one than /etc/picorelay. */
  readonly control: string | undefined;
}

/** A file of /etc/cron.d, where a line names the user. */
export function cronFile(service: Service): string {
  return cronText(service, `${service.user} `);
}

/** A user's own crontab, as busybox has it in /etc/crontabs. */
export function userCrontab(service: Service): string {
  return cronText(service, '');
}

function cronText({ command, control }: Service, user: string): string {
  // A percent sign ends a command of cron's.
  const words = command.map((word) => quoted(word).replaceAll('%', '\\%'));
  return [
    '# Tries mail again that the relay put off. Written by picorelay init.',
    ...(control === undefined ? [] : [`PICORELAY_CONTROL=${control}`]),
    `* * * * * ${user}${words.join(' ')}`,
    '',
  ].join('\n');
}

/**
 * The units by their names: a service that makes one pass, and what starts it. It is locked in as far as it
 * lets itself: node compiles what it runs (no MemoryDenyWriteExecute), and /proc tells whether a process
 * lives that claimed a mail (no ProtectProc, no ProcSubset), whose it is (no PrivateUsers).
 */
export function systemdUnits(service: Service): ReadonlyMap<string, string> {
  const { user, spool, command, log, control } = service;
  const writable = [spool, ...(log === undefined ? [] : [`-${log}`])];
  return new Map([
    [
      'picorelay.service',
      `[Unit]
Description=Offers queued mail to the relay (picorelay)
Documentation=man:picorelay-cron(8)
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=oneshot
User=${user}
ExecStart=${command.map(systemdWord).join(' ')}
${control === undefined ? '' : `Environment=PICORELAY_CONTROL=${control}\n`}ReadWritePaths=${writable.join(' ')}
AmbientCapabilities=
CapabilityBoundingSet=
DevicePolicy=closed
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
`,
    ],
    [
      'picorelay.timer',
      `[Unit]
Description=Tries mail again that the relay put off (picorelay)

[Timer]
OnCalendar=minutely
AccuracySec=15s

[Install]
WantedBy=timers.target
`,
    ],
    [
      'picorelay.path',
      `[Unit]
Description=Takes mail of users without rights on the queue (picorelay)

[Path]
PathChanged=${spool}/incoming

[Install]
WantedBy=paths.target
`,
    ],
  ]);
}

/**
 * A file of /etc/logrotate.d.
 * @param own whether the log lies in a folder of its user's, where root must not rename and make files
 */
export function logrotateFile({ user, log = '' }: Service, own: boolean): string {
  return `${quoted(log)} {${own ? `\n\tsu ${user} ${user}` : ''}
	weekly
	rotate 8
	compress
	delaycompress
	missingok
	notifempty
	create 0640 ${user} ${user}
}
`;
}

function quoted(word: string): string {
  return /^[\w./:@+=%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** systemd takes $ and % for its own, also within quotes. */
function systemdWord(word: string): string {
  const text = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w./:@+=%$-]+$/.test(text) ? text : JSON.stringify(text);
}
