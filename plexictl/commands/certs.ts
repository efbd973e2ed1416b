/**
 * `plexictl certs init|issue|show`: the cluster's certificate authority, as files. Needs no controller.
 * Invariant: nothing that exists is replaced, and the key of the authority is only read, never shown.
 */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  authorityCluster,
  type CertificateDescription,
  createAuthority,
  describeCertificate,
  issueCertificate,
} from '../../config/certificate-authority.js';
import { PlexiError } from '../../config/errors.js';
import { isRole, roles } from '../../config/identity.js';
import { limits } from '../../config/limits.js';
import { type CliContext, withOutput } from '../context.js';
import { wholeNumber } from './option-values.js';

/** All that these commands need of the world: somewhere to answer. */
type Answers = Pick<CliContext, 'show'>;

/** Adds the commands under `certs`. */
export function registerCerts(program: Command, context: Answers): void {
  const certs = program
    .command('certs')
    .summary("the cluster's certificate authority")
    .description("Make the cluster's certificate authority, and issue certificates. Needs no controller.")
    .addHelpText('after', '\nExample:\n  plexictl certs init --dir pki --cluster chat');
  registerInit(certs, context);
  registerIssue(certs, context);
  registerShow(certs, context);
}

function registerInit(certs: Command, context: Answers): void {
  withOutput(
    certs
      .command('init')
      .summary('make a certificate authority')
      .description('Make the certificate authority of a cluster: ca.pem, and ca.key to keep offline.')
      .addHelpText('after', '\nExample:\n  plexictl certs init --dir pki --cluster chat')
      .requiredOption('--dir <dir>', 'folder for ca.pem and ca.key')
      .requiredOption('--cluster <name>', 'name of the cluster'),
  ).action(async (options: { dir: string; cluster: string }) => {
    const files = await createAuthority(options.dir, { cluster: options.cluster });
    const description = describeCertificate(files.ca);
    context.show({ authority: documentOf(description), key: files.key }, () =>
      [
        `authority of cluster ${options.cluster}, valid until ${day(description.validUntil)}`,
        `  certificate  ${files.ca}`,
        `  key          ${files.key}  (keep it offline; who has it can be anybody)`,
      ].join('\n'),
    );
  });
}

interface IssueOptions {
  dir: string;
  role: string;
  name: string;
  host: string[];
  days: number;
  out?: string;
}

function registerIssue(certs: Command, context: Answers): void {
  withOutput(
    certs
      .command('issue')
      .summary('issue a certificate with its key')
      .description('Issue a certificate with its key, for a program of the cluster or for a person.')
      .addHelpText(
        'after',
        '\nExample:\n  plexictl certs issue --dir pki --role agent --name node-1 --host 10.0.0.11',
      )
      .requiredOption('--dir <dir>', 'folder of the authority')
      .addOption(new Option('--role <role>', 'what its holder is').choices([...roles]).makeOptionMandatory())
      .requiredOption('--name <name>', 'name of the controller, the node or the person')
      .option('--host <host>', 'host name or IP address that it serves under; may be repeated', collect, [])
      .option(
        '--days <days>',
        `days that it is valid, at most ${limits.certificateDays}`,
        wholeNumber('--days', 1, limits.certificateDays),
        limits.certificateDays,
      )
      .option('--out <dir>', 'folder for the files (default: the folder of the authority)'),
  ).action(async (options: IssueOptions) => {
    const { dir, role, name, host, days } = options;
    if (!isRole(role)) throw new PlexiError('USAGE', `'${role}' is no role; use one of ${roles.join(', ')}`);
    const folder = options.out ?? dir;
    const base = join(folder, name);
    const out = { cert: `${base}.pem`, key: `${base}.key`, ca: join(folder, 'ca.pem') };
    const identity = { cluster: authorityCluster(dir), role, name };
    await issueCertificate(dir, { identity, hosts: host, days, out });
    const description = describeCertificate(out.cert);
    context.show({ certificate: documentOf(description), key: out.key, ca: out.ca }, () =>
      [
        `${role} ${name} of cluster ${identity.cluster}, valid until ${day(description.validUntil)}`,
        `  certificate  ${out.cert}`,
        `  key          ${out.key}`,
        `  authority    ${out.ca}`,
      ].join('\n'),
    );
  });
}

function registerShow(certs: Command, context: Answers): void {
  withOutput(
    certs
      .command('show')
      .summary('say what certificates are')
      .description('Say whose certificates these are, where they are valid, and for how long.')
      .argument('<file...>', 'certificate files')
      .addHelpText('after', '\nExample:\n  plexictl certs show pki/node-1.pem'),
  ).action((files: string[]) => {
    const descriptions = files.map((file) => describeCertificate(file));
    context.show({ certificates: descriptions.map(documentOf) }, () =>
      descriptions.map(paragraph).join('\n\n'),
    );
  });
}

/** The certificate as JSON shows it. */
function documentOf(description: CertificateDescription): object {
  const { identity } = description;
  return {
    file: description.file,
    cluster: identity?.cluster ?? null,
    role: identity?.role ?? null,
    name: identity?.name ?? null,
    isAuthority: description.isAuthority,
    subject: description.subject,
    issuer: description.issuer,
    hosts: description.hosts,
    validFrom: description.validFrom.toISOString(),
    validUntil: description.validUntil.toISOString(),
    daysLeft: description.daysLeft,
    fingerprint: description.fingerprint,
  };
}

function paragraph(description: CertificateDescription): string {
  const { identity } = description;
  const left = description.daysLeft < 0 ? 'expired' : `${description.daysLeft} days left`;
  return [
    description.file,
    `  who          ${whoText(description)}`,
    ...(identity === undefined
      ? []
      : [`  role         ${identity.role}`, `  cluster      ${identity.cluster}`]),
    ...(description.hosts.length === 0 ? [] : [`  hosts        ${description.hosts.join(', ')}`]),
    `  valid from   ${description.validFrom.toISOString()}`,
    `  valid until  ${description.validUntil.toISOString()}  (${left})`,
    `  fingerprint  ${description.fingerprint}`,
  ].join('\n');
}

function whoText(description: CertificateDescription): string {
  if (description.identity !== undefined) return description.identity.name;
  return description.isAuthority ? `certificate authority (${description.subject})` : description.subject;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}
