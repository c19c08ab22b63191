// Package pages prepares a machine for measurements that fill the kernel's cache.
package pages
