// Verifies each JWT on standard input with the key set at its address, and notes why each forged variant is refused.
import { text } from "node:stream/consumers";
import { createRemoteJWKSet, jwtVerify } from "jose";

const results = [];
for (const { alg, jwksUri, jwt, issuer, audience } of JSON.parse(await text(process.stdin))) {
  const keys = createRemoteJWKSet(new URL(jwksUri));
  const options = { issuer, audience, typ: "session+jwt", algorithms: [alg] };
  const { payload, protectedHeader } = await jwtVerify(jwt, keys, options);

  const refusal = async (token, changed) => {
    try {
      await jwtVerify(token, keys, { ...options, ...changed });
      return "accepted";
    } catch (error) {
      return error.code;
    }
  };
  const [header, , signature] = jwt.split(".");
  const forged = Buffer.from(JSON.stringify({ ...payload, sub: "mallory" })).toString("base64url");
  const refused = {
    audience: await refusal(jwt, { audience: "shop/admin" }),
    issuer: await refusal(jwt, { issuer: "https://cloakroom.example/ns/bank" }),
    type: await refusal(jwt, { typ: "at+jwt" }),
    algorithm: await refusal(jwt, { algorithms: ["HS256"] }),
    signature: await refusal([header, forged, signature].join(".")),
    time: await refusal(jwt, { currentDate: new Date((payload.exp + 1) * 1000) }),
  };
  results.push({ header: protectedHeader, payload, refused });
}
console.log(JSON.stringify(results));
