//! Access tokens of Salesforce: JWT bearer, refresh token or client credentials.

use crate::destination::Context;
use crate::http::{classify, HttpRequest, HttpResponse, Method};
use crate::outcome::Outcome;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::rand::SystemRandom;
use ring::signature::{RsaKeyPair, RSA_PKCS1_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use serde_json::{json, Value};

/// Keys of the token and of the organization's URL in the memory.
pub const TOKEN: &str = "access_token";
pub const INSTANCE: &str = "instance_url";

/// The request for a token, by whichever flow the secrets are for.
pub fn grant(context: &Context) -> Result<HttpRequest, Outcome> {
    let login = context.config.required("login_url");
    let login = login.trim_end_matches('/');
    let request = HttpRequest::new(Method::Post, format!("{login}/services/oauth2/token"));
    let client = context.secret("client_id");
    let client_secret = context.optional_secret("client_secret");
    if let Some(key) = context.optional_secret("private_key") {
        let user = context.config.required("username");
        let claims = json!({
            "iss": client,
            "sub": user,
            "aud": login,
            "exp": context.now.div_euclid(1000) + 180,
        });
        let assertion = jwt(&claims, &key)
            .ok_or_else(|| Outcome::auth_blocked("the private_key is not an RSA key in PEM"))?;
        return Ok(request.form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &assertion),
        ]));
    }
    if let Some(refresh) = context.optional_secret("refresh_token") {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", client.as_str()),
            ("refresh_token", refresh.as_str()),
        ];
        if let Some(secret) = &client_secret {
            form.push(("client_secret", secret));
        }
        return Ok(request.form(&form));
    }
    match &client_secret {
        Some(secret) => Ok(request.form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &client),
            ("client_secret", secret),
        ])),
        None => Err(Outcome::auth_blocked(
            "one of private_key, refresh_token, client_secret and access_token is required",
        )),
    }
}

/// The token and the organization's URL, or why there is none.
pub fn read_token(response: &HttpResponse) -> Result<(String, String), Outcome> {
    match classify(response) {
        Outcome::Delivered => {}
        // 400 invalid_grant: the credentials, not the message.
        Outcome::Reject { reason } => return Err(Outcome::auth_blocked(reason)),
        outcome => return Err(outcome),
    }
    let body = response.json();
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_string);
    match (text("access_token"), text("instance_url")) {
        (Some(token), Some(instance)) => Ok((token, instance)),
        _ => Err(Outcome::retry("Salesforce gave no token")),
    }
}

/// A JSON Web Token signed with RS256; None when the key cannot be used.
fn jwt(claims: &Value, pem: &str) -> Option<String> {
    let key = match PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
        Err(_) => {
            let der = PrivatePkcs1KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
            RsaKeyPair::from_der(der.secret_pkcs1_der()).ok()?
        }
    };
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .ok()?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
