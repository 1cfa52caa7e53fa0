/** The programs whose settings and queues are known: where they lie, and who reads them. */
import { dirname } from 'node:path';
import { parseDmaConf, translateDma } from './dma.ts';
import { translateEsmtp } from './esmtp.ts';
import { translateMsmtp } from './msmtp.ts';
import { translateNullmailer } from './nullmailer.ts';
import { translatePostfix } from './postfix.ts';
import { translateQmail } from './qmail.ts';
import { dmaQueue, msmtpQueue, nullmailerQueue, postfixQueue, type Queued } from './queues.ts';
import { translateSsmtp } from './ssmtp.ts';
import type { Files, Translation } from './translation.ts';

export interface Program {
  readonly name: string;
  /** Files one of which is there where the program is set up; the first that is there counts. */
  readonly marks: readonly string[];
  /** Whether its settings are the folder that the mark is in. */
  readonly folder: boolean;
  readonly translate: (files: Files, path: string) => Translation;
  readonly queue?: {
    /** Where it is, unless somebody says otherwise. */
    readonly folder: (files: Files, path: string) => string;
    readonly read: (folder: string) => readonly Queued[];
  };
  /** What could send mail of the queue at the same time, and how it is stopped. */
  readonly daemon?: { readonly executables: readonly string[]; readonly stop: string };
}

export const programs: readonly Program[] = [
  {
    name: 'nullmailer',
    marks: ['/etc/nullmailer/remotes'],
    folder: true,
    translate: translateNullmailer,
    queue: { folder: () => '/var/spool/nullmailer/queue', read: nullmailerQueue },
    daemon: {
      executables: ['/usr/sbin/nullmailer-send'],
      stop: 'systemctl disable --now nullmailer',
    },
  },
  {
    name: 'msmtp',
    marks: ['/etc/msmtprc', '/root/.msmtprc', '/root/.config/msmtp/config'],
    folder: false,
    translate: translateMsmtp,
    queue: {
      folder: (files) =>
        ['/root/.msmtp.queue', '/root/.msmtpqueue'].find(
          (folder) => files.names(folder).length > 0,
        ) ?? '/root/.msmtp.queue',
      read: msmtpQueue,
    },
  },
  {
    name: 'dma',
    marks: ['/etc/dma/dma.conf'],
    folder: true,
    translate: translateDma,
    queue: {
      folder: (files, path) =>
        parseDmaConf(files.read(`${path}/dma.conf`) ?? '').get('SPOOLDIR') ?? '/var/spool/dma',
      read: dmaQueue,
    },
    daemon: {
      executables: ['/usr/sbin/dma', '/usr/lib/dma/dma'],
      stop: 'wait until dma has ended',
    },
  },
  {
    name: 'ssmtp',
    marks: ['/etc/ssmtp/ssmtp.conf'],
    folder: true,
    translate: translateSsmtp,
  },
  {
    name: 'esmtp',
    marks: ['/etc/esmtprc', '/root/.esmtprc'],
    folder: false,
    translate: translateEsmtp,
  },
  {
    name: 'postfix',
    marks: ['/etc/postfix/main.cf'],
    folder: false,
    translate: translatePostfix,
    queue: { folder: () => '/var/spool/postfix', read: () => postfixQueue() },
    daemon: {
      executables: ['/usr/lib/postfix/sbin/master', '/usr/libexec/postfix/master'],
      stop: 'systemctl disable --now postfix',
    },
  },
  {
    name: 'picoqmail',
    marks: ['/var/qmail/control/me', '/etc/qmail/me'],
    folder: true,
    translate: translateQmail,
  },
];

/** The programs that are set up here, each with the path of its settings. */
export function programsFound(
  files: Files,
): readonly { readonly program: Program; readonly path: string }[] {
  return programs.flatMap((program) => {
    const mark = program.marks.find((each) => files.read(each) !== undefined);
    if (mark === undefined) return [];
    return [{ program, path: program.folder ? dirname(mark) : mark }];
  });
}
