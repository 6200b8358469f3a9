// Prints keys and JWTs of each algorithm, made by Node's crypto (OpenSSL): `node make_jwts.mjs > by_openssl.json`.
import { constants, generateKeyPairSync, sign } from 'node:crypto';

const claims = {
  iss: 'https://login.example', aud: ['cloakroom'], sub: 'ada', iat: 1800000000, exp: 1800000300, scope: 'orders:read orders:write',
};
const part = (object) => Buffer.from(JSON.stringify(object)).toString('base64url');
const keys = [];
const jwts = {};
for (const [alg, type, options, hash, how] of [
  ['ES256', 'ec', { namedCurve: 'P-256' }, 'sha256', { dsaEncoding: 'ieee-p1363' }],
  ['ES384', 'ec', { namedCurve: 'P-384' }, 'sha384', { dsaEncoding: 'ieee-p1363' }],
  ['EdDSA', 'ed25519', {}, null, {}],
  ['RS256', 'rsa', { modulusLength: 2048 }, 'sha256', {}],
  ['PS256', 'rsa', { modulusLength: 2048 }, 'sha256', { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
]) {
  const { publicKey, privateKey } = generateKeyPairSync(type, options);
  keys.push({ ...publicKey.export({ format: 'jwk' }), kid: `key ${alg}`, alg, use: 'sig' });
  const message = `${part({ alg, typ: 'JWT', kid: `key ${alg}` })}.${part(claims)}`;
  jwts[alg] = `${message}.${sign(hash, Buffer.from(message), { key: privateKey, ...how }).toString('base64url')}`;
}
console.log(JSON.stringify({ keys, jwts }, null, 2));
