// An OpenID provider that asks nobody anything: every authorization request is granted to alice at once. It exists so
// that a session and access tokens of an ordinary size can be had, and as many tokens as a run takes. It ends when its
// parent does.
//
// Usage: node provider.mjs PORT DIRECTORY TOKENS
// Into DIRECTORY go `signing.pub.pem`, `seen.token`, and `tokens`: one access token a line, signed with the same key.
import { createServer } from 'node:http';
import { createHash, createSign, generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const CLIENT = 'store';
const base64url = (value) => Buffer.from(value).toString('base64url');

function claims(issuer, more) {
  const now = Math.floor(Date.now() / 1000);
  const sub = '8d0c2a6e-4d5f-4a56-9d5c-0f2f1f2f7a11';
  return { iss: issuer, sub, aud: CLIENT, iat: now, exp: now + 4 * 3600, ...more };
}

const alice = {
  email: 'alice.arnold@example.com', email_verified: true, name: 'Alice Arnold', preferred_username: 'alice',
  given_name: 'Alice', family_name: 'Arnold', locale: 'en-GB', groups: ['customers', 'staff', 'newsletter'],
};

// Many a directory puts every group of a person into the token, by its number.
function directory() {
  const id = (at) => createHash('sha256').update(`group ${at}`).digest('hex').slice(0, 36);
  return Array.from({ length: 24 }, (_, at) => id(at));
}

function sign(key, typ, payload) {
  const parts = [{ alg: 'RS256', typ, kid: 'bench' }, payload];
  const text = parts.map((part) => base64url(JSON.stringify(part))).join('.');
  return `${text}.${createSign('RSA-SHA256').update(text).sign(key, 'base64url')}`;
}

function accessToken(key, issuer, more) {
  const scope = 'openid email profile offline_access';
  return sign(key, 'at+jwt', claims(issuer, { client_id: CLIENT, scope, jti: randomUUID(), ...alice, ...more }));
}

if (!isMainThread) {
  const { key, issuer, count } = workerData;
  parentPort.postMessage(Array.from({ length: count }, () => accessToken(key, issuer)).join('\n'));
} else {
  const [port, folder, count] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
  const issuer = `http://127.0.0.1:${port}`;
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(`${folder}/signing.pub.pem`, publicKey.export({ type: 'spki', format: 'pem' }));
  writeFileSync(`${folder}/seen.token`, accessToken(key, issuer));

  const shares = [Math.ceil(count / 2), Math.floor(count / 2)];
  const made = shares.map((share) => new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { key, issuer, count: share } });
    worker.once('message', resolve).once('error', reject);
  }));
  writeFileSync(`${folder}/tokens`, `${(await Promise.all(made)).filter((part) => part).join('\n')}\n`);

  const nonces = new Map();
  const pages = {
    '/.well-known/openid-configuration': () => ({
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
      response_types_supported: ['code'], subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'], code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
    }),
    '/jwks': () => ({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'RS256', use: 'sig' }] }),
    '/token': (_, form) => ({
      access_token: accessToken(key, issuer, { directory: directory() }),
      id_token: sign(key, 'JWT', claims(issuer, { nonce: nonces.get(form.get('code')), ...alice })),
      refresh_token: base64url(createHash('sha512').update(randomUUID()).digest().toString('hex').repeat(3)),
      token_type: 'Bearer', expires_in: 4 * 3600, scope: 'openid email profile offline_access',
    }),
  };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, issuer);
    let body = '';
    for await (const part of request) body += part;
    if (url.pathname === '/authorize') {
      const [code, to] = [randomUUID(), new URL(url.searchParams.get('redirect_uri'))];
      nonces.set(code, url.searchParams.get('nonce'));
      to.searchParams.set('code', code);
      to.searchParams.set('state', url.searchParams.get('state'));
      response.writeHead(302, { location: to.href }).end();
      return;
    }
    const page = pages[url.pathname];
    response.writeHead(page ? 200 : 404, { 'content-type': 'application/json' });
    response.end(page ? JSON.stringify(page(url, new URLSearchParams(body))) : '');
  });
  server.listen(port, '127.0.0.1');
}
