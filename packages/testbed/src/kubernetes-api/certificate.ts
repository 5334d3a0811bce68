// A self-signed certificate for loopback, made by openssl(1): no key is kept in the repository.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  /** PEM; clients trust it as an authority, too. */
  readonly certificate: string;
  readonly key: string;
}

/** For 127.0.0.1, ::1 and localhost; valid for ten years. Throws with openssl's message if it fails. */
export function selfSignedCertificate(commonName: string): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-certificate-'));
  try {
    const [key, certificate] = [join(directory, 'key'), join(directory, 'certificate')];
    const names = 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost';
    const common = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '3650',
    ];
    execFileSync(
      'openssl',
      [...common, '-keyout', key, '-out', certificate, '-subj', `/CN=${commonName}`, '-addext', names],
      { stdio: 'pipe' },
    );
    return { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  } catch (error) {
    throw new Error(`cannot make a certificate with openssl (Debian package openssl): ${String(error)}`, {
      cause: error,
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
