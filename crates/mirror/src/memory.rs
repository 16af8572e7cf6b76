//! How the C library's allocator is set up. The only unsafe code of the project.

/// Lets all threads allocate from one arena. By default glibc gives every thread its own,
/// and buffers that are filled on one thread and freed on another leave holes in each: a
/// copy of many layers then holds 64 MB where 38 do, and is no faster for it.
/// Other C libraries have one arena anyway. Where threads make many small allocations at
/// once they would wait for each other: for programs that mostly move buffers.
///
/// To be called before any thread is started.
pub(crate) fn one_arena() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc offers no safe way")]
    // SAFETY: no other thread runs yet; the arguments are numbers, and a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
