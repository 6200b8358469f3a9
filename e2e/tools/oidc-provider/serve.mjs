// An OpenID provider as others run it, for tests: `node serve.mjs FOLDER PORT`, where FOLDER has the package. Programs get access tokens
// by their own credentials, opaque for `urn:opaque` and as JWTs for `urn:jwt`; the gate may ask about each.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const resolve = createRequire(`${folder}/`).resolve;
const { Provider, errors } = await import(pathToFileURL(resolve('oidc-provider')).href);

const issuer = `http://127.0.0.1:${port}`;
const machine = (id) => ({
  client_id: id, client_secret: `${id}-secret`, redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
});
const provider = new Provider(issuer, {
  clients: [machine('program'), machine('gate')],
  scopes: ['read', 'write'],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => {
        if (!['urn:opaque', 'urn:jwt'].includes(resource)) throw new errors.InvalidTarget();
        return {
          scope: 'read write', audience: 'shop', accessTokenTTL: 300,
          accessTokenFormat: resource === 'urn:jwt' ? 'jwt' : 'opaque', jwt: { sign: { alg: 'RS256' } },
        };
      },
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
