
/*
 * Copyright (C) ngx_smtp_relay_module authors
 */


/*
 * CRC32C (Castagnoli polynomial, reflected; RFC 3720 section 12.1), the check
 * on everything the spool writes.  By the CPU's instruction where there is
 * one, else by table.  Thread-safe.
 */


#ifndef _NGX_SMTP_CRC32C_H_INCLUDED_
#define _NGX_SMTP_CRC32C_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * The CRC of data that follows data whose CRC is crc; 0 at the start, so that
 * crc(crc(0, a), b) is the CRC of a and b in one.  No error.
 */
uint32_t ngx_smtp_crc32c(uint32_t crc, const void *data, size_t len);

/* The same by table, whatever the CPU has: for tests. */
uint32_t ngx_smtp_crc32c_table(uint32_t crc, const void *data, size_t len);


#endif /* _NGX_SMTP_CRC32C_H_INCLUDED_ */
