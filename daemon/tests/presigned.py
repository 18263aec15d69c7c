"""Whether a presigned URL has the signature that AWS Signature Version 4 gives it.

presigned.py METHOD URL SECRET
"""

import hashlib
import hmac
import sys
from urllib.parse import parse_qsl, quote, urlsplit

method, url, secret = sys.argv[1:]
parts = urlsplit(url)
query = dict(parse_qsl(parts.query, strict_parsing=True))
signature = query.pop("X-Amz-Signature")
assert query["X-Amz-SignedHeaders"] == "host", query
_, day, region, service, end = query["X-Amz-Credential"].split("/")
sorted_query = "&".join(f"{quote(key, safe='')}={quote(query[key], safe='')}" for key in sorted(query))
request = "\n".join([method, parts.path, sorted_query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"])
scope = "/".join([day, region, service, end])
hashed = hashlib.sha256(request.encode()).hexdigest()
to_sign = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashed])
key = f"AWS4{secret}".encode()
for word in [day, region, service, end, to_sign]:
    key = hmac.new(key, word.encode(), hashlib.sha256).digest()
assert key.hex() == signature, (request, key.hex(), signature)
