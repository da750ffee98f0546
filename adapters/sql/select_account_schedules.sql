SELECT id
FROM documents
WHERE kind = %(kind)s AND account_id = %(account_id)s AND status <> 'deleted'
LIMIT %(limit)s
