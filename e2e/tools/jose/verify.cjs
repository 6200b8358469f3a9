// Verifies session JWTs, one a line, with the jose library and the JWKS that cloakroom serves; answers with one JSON line
// each: {"claims": …, "header": …} or {"error": …}. Arguments: folder of node_modules, JWKS URL, issuer, audience;
// and, for a service that looks again only when its copy is so old, milliseconds.
const { createRequire } = require('node:module')
const readline = require('node:readline')

const [folder, jwks, issuer, audience, maxAge] = process.argv.slice(2)
const { createRemoteJWKSet, jwtVerify } = createRequire(`${folder}/`)('jose')

// As a service would: keys are cached, an unknown key id makes it look again.
const caching = maxAge === undefined
  ? { cooldownDuration: 0 }
  : { cacheMaxAge: Number(maxAge), cooldownDuration: Number.MAX_SAFE_INTEGER }
const keys = createRemoteJWKSet(new URL(jwks), caching)

const verify = async (jwt) => {
  try {
    const { payload, protectedHeader } = await jwtVerify(jwt, keys, { issuer, audience, typ: 'session+jwt', clockTolerance: 5 })
    return { claims: payload, header: protectedHeader }
  } catch (error) {
    return { error: `${error.code ?? error.name}: ${error.message}` }
  }
}

const main = async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await verify(line))}\n`)
  }
}
main()
