// A real OpenID provider for Doorward's tests: the certified npm package `oidc-provider` with a small configuration.
// It listens on 127.0.0.1 only, prints one JSON line when it is ready and one for each event, and ends with its stdin.
//
// Usage: node server.mjs '{"clients":[…]}'   Members of the one argument, all optional but `clients`:
//   clients            client metadata as in RFC 7591 (client_id, client_secret, redirect_uris, …)
//   host               name in the issuer (default "127.0.0.1"; it must be a loopback name)
//   access_token       "jwt" (resource indicators, RFC 9068) or "opaque" (default)
//   audience           `aud` of JWT access tokens (default: the client's own id)
//   access_token_ttl, id_token_ttl, refresh_token_ttl, session_ttl     seconds
//   refresh_tokens     false: none is granted
//   issuer             a public URL, at which TLS may be terminated (default: where it listens)
//   require_par        true: authorization requests must be pushed
//   Request objects and signed responses are accepted; clients require them by their metadata.
//   resources          the accepted `resource` values, of which each request must have one (with "jwt" access tokens)
//   thin_id_tokens     true: claims are at the UserInfo endpoint only
//   dpop_nonce         true: DPoP proofs must have a nonce
//   jarm               false: there are no signed responses
//   fapi               "2.0": FAPI 2.0 is required
//   tls                { cert, key, ca }: it serves https; `ca` is the authority of client certificates
//   client_auth_methods  the accepted methods (default: those of the package)
//   fixed_host         true: the endpoints are at the issuer's address, whatever host is requested
//   discovery          false: there is no discovery document
// A client whose grant_types have "password" may use RFC 6749 section 4.3: names and passwords as in the login form.
// Each line of its stdin is JSON too: {"apps_port":…} says where on 127.0.0.1 the clients are that it calls by itself
// (back-channel logout), whatever names and ports their addresses have.
// The package stays at 8.x: every 9.x needs a newer Node than Debian 12's (18), 8.8 runs on 18, 20 and 22.
import { Agent, createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

const options = JSON.parse(process.argv[2] ?? '{}');
const report = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const people = {
  alice: { email: 'alice@example.com', name: 'Alice Arnold', groups: ['customers'], roles: [] },
  bob: { email: 'bob@example.com', name: 'Bob Brown', groups: ['customers', 'staff'], roles: ['admin'] },
};

function claimsOf(name) {
  return { sub: name, preferred_username: name, email_verified: true, ...people[name] };
}

function key(type, parameters, alg) {
  const { privateKey } = generateKeyPairSync(type, parameters);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg, kid: randomBytes(6).toString('hex') };
}

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function loginPage(uid, client, failed) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head><body>
<h1>Sign in to ${escaped(client)}</h1>${failed ? '<p role="alert">Nobody is known by this name and password.</p>' : ''}
<form id="login" method="post" action="/interaction/${escaped(uid)}">
<label>Name <input name="username" autocomplete="username"></label>
<label>Password <input name="password" type="password"></label>
<button type="submit">Sign in</button></form></body></html>`;
}

async function formOf(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > 10_000) throw new Error('form too large');
  }
  return new URLSearchParams(text);
}

let appsPort;
class AppsAgent extends Agent {
  createConnection(to, done) {
    return super.createConnection({ ...to, host: '127.0.0.1', port: appsPort }, done);
  }
}
const appsAgent = new AppsAgent();

// A client may show a certificate, of any authority.
const server = options.tls
  ? createHttpsServer({ ...options.tls, requestCert: true, rejectUnauthorized: false })
  : createHttpServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = options.issuer ?? `${options.tls ? 'https' : 'http'}://${options.host ?? '127.0.0.1'}:${port}`;
  const published = new URL(issuer);
  const jwtLife = options.access_token_ttl ?? 60;

  const resourceServer = (client) => ({
    scope: 'email profile groups',
    audience: options.audience ?? client.clientId,
    accessTokenFormat: 'jwt',
    accessTokenTTL: jwtLife,
    jwt: { sign: { alg: 'ES256' } },
  });
  const provider = new Provider(issuer, {
    clients: options.clients,
    ...(options.client_auth_methods && { clientAuthMethods: options.client_auth_methods }),
    jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
    cookies: { keys: [randomBytes(24).toString('hex')] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'preferred_username'],
      groups: ['groups', 'roles'],
    },
    scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
    conformIdTokenClaims: options.thin_id_tokens === true,
    httpOptions: () => ({ agent: appsAgent }),
    pkce: { required: () => true, methods: ['S256'] },
    rotateRefreshToken: true,
    issueRefreshToken: async (_ctx, client) =>
      options.refresh_tokens !== false && client.grantTypeAllowed('refresh_token'),
    ttl: {
      AccessToken: jwtLife,
      IdToken: options.id_token_ttl ?? jwtLife,
      RefreshToken: options.refresh_token_ttl ?? 3600,
      Session: options.session_ttl ?? 3600,
      Grant: 7200,
      Interaction: 600,
    },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      introspection: { enabled: true },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => options.dpop_nonce === true },
      backchannelLogout: { enabled: true },
      ...(options.fapi && { fapi: { enabled: true, profile: options.fapi } }),
      requestObjects: { request: true, requestUri: false, mode: 'strict' },
      jwtResponseModes: { enabled: options.jarm !== false },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: options.require_par === true },
      mTLS: {
        enabled: Boolean(options.tls),
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) =>
          property === 'tls_client_auth_san_dns' &&
          ctx.socket.getPeerX509Certificate().subjectAltName === `DNS:${expected}`,
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign out</title></head>
<body><h1>Sign out?</h1>${form}
<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button></body></html>`;
        },
      },
      resourceIndicators: {
        enabled: options.access_token === 'jwt',
        defaultResource: () => (options.resources ? undefined : 'urn:doorward:app'),
        useGrantedResource: () => !options.resources,
        getResourceServerInfo: (_ctx, resource, client) => {
          if (options.resources && !options.resources.includes(resource)) throw new errors.InvalidTarget();
          return { ...resourceServer(client), ...(options.resources && { audience: resource }) };
        },
      },
    },
    extraTokenClaims: (_ctx, token) => (token.accountId ? claimsOf(token.accountId) : undefined),
    findAccount: (_ctx, id) =>
      Object.hasOwn(people, id) ? { accountId: id, claims: async () => claimsOf(id) } : undefined,
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    async loadExistingGrant({ oidc }) {
      const known = oidc.session.grantIdFor(oidc.client.clientId);
      const found = known && (await oidc.provider.Grant.find(known));
      if (found) return found;
      const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope('openid offline_access email profile groups');
      for (const resource of options.resources ?? ['urn:doorward:app']) {
        grant.addResourceScope(resource, 'email profile groups');
      }
      await grant.save();
      return grant;
    },
  });

  // The package has no password grant, but room for grants of one's own.
  provider.registerGrantType('password', async (ctx, next) => {
    const { client, params } = ctx.oidc;
    const name = params.username ?? '';
    if (!Object.hasOwn(people, name) || params.password !== name) {
      throw new errors.InvalidGrant('invalid user credentials');
    }
    const wanted = (params.scope ?? '').split(' ').filter(Boolean);
    const grant = new provider.Grant({ clientId: client.clientId, accountId: name });
    grant.addOIDCScope(wanted.join(' '));
    grant.addResourceScope('urn:doorward:app', 'email profile groups');
    const grantId = await grant.save();
    const sessionUid = randomBytes(12).toString('hex');
    const made = { accountId: name, client, grantId, gty: 'password', sessionUid };
    const token = new provider.AccessToken(made);
    const claims = await provider.Account.findAccount(ctx, name);
    if (options.access_token === 'jwt') {
      token.resourceServer = new provider.ResourceServer('urn:doorward:app', resourceServer(client));
      token.scope = 'email profile groups';
    } else {
      token.scope = wanted.join(' ');
    }
    const access_token = await token.save();
    let refresh_token;
    if (options.refresh_tokens !== false && wanted.includes('offline_access')) {
      const resource = options.access_token === 'jwt' ? 'urn:doorward:app' : undefined;
      const refresh = new provider.RefreshToken({ ...made, scope: wanted.join(' '), rotations: 0, resource, iiat: Math.floor(Date.now() / 1000) });
      refresh_token = await refresh.save();
    }
    const id = new provider.IdToken(await claims.claims(), { ctx });
    id.scope = wanted.join(' ');
    id.mask = {};
    const id_token = await id.issue({ use: 'idtoken' });
    ctx.body = { access_token, refresh_token, id_token, expires_in: token.expiration, token_type: token.tokenType, scope: wanted.join(' ') };
    await next();
  }, ['username', 'password', 'scope'], []);

  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const { uid, params, prompt } = await provider.interactionDetails(ctx.req, ctx.res);
    ctx.set('cache-control', 'no-store');
    if (ctx.method !== 'POST') {
      report({ event: 'form', client_id: params.client_id, prompt: prompt.name });
      ctx.body = loginPage(uid, params.client_id, false);
      return undefined;
    }
    const form = await formOf(ctx.req);
    const name = form.get('username') ?? '';
    if (!Object.hasOwn(people, name) || form.get('password') !== name) {
      ctx.status = 401;
      ctx.body = loginPage(uid, params.client_id, true);
      return undefined;
    }
    const to = await provider.interactionResult(ctx.req, ctx.res, { login: { accountId: name } });
    report({ event: 'login', client_id: params.client_id, username: name });
    return ctx.redirect(to);
  });

  const grantEvent = (event) => (ctx, error) =>
    report({
      event,
      client_id: ctx.oidc.client?.clientId,
      grant_type: ctx.oidc.params?.grant_type,
      error: error?.error,
      reason: error?.error_detail ?? error?.error_description,
    });
  provider.on('grant.success', grantEvent('grant.success'));
  provider.on('grant.error', grantEvent('grant.error'));
  provider.on('grant.revoked', grantEvent('grant.revoked'));
  provider.on('end_session.success', grantEvent('end_session.success'));
  provider.on('backchannel.success', (_ctx, client) => report({ event: 'backchannel.success', client_id: client.clientId }));
  provider.on('backchannel.error', (_ctx, error) => report({ event: 'backchannel.error', reason: String(error) }));
  provider.on('authorization.error', (_ctx, error) => report({ event: 'authorization.error', error: error.error, reason: error.error_description }));
  provider.on('server_error', (_ctx, error) => report({ event: 'server_error', reason: String(error?.stack ?? error) }));

  provider.proxy = options.issuer !== undefined;
  const handle = provider.callback();
  server.on('request', (request, response) => {
    const { headers } = request;
    if (options.fixed_host) headers.host = published.host;
    if (options.issuer && headers.host === published.host) headers['x-forwarded-proto'] = published.protocol.slice(0, -1);
    if (options.discovery === false && request.url.startsWith('/.well-known/')) {
      response.writeHead(404).end();
      return;
    }
    handle(request, response);
  });
  report({ event: 'ready', port, issuer });
});

const told = createInterface({ input: process.stdin });
told.on('line', (line) => {
  appsPort = JSON.parse(line).apps_port;
});
told.on('close', () => process.exit(0));
