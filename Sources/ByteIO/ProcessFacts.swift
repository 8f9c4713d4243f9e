internal import CKernels
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif
internal import Synchronization

/// What the system says about this process.
public enum ProcessFacts {
  /// The largest resident memory so far, in bytes.
  public static var peakResidentBytes: UInt64 {
    var usage = rusage()
    #if os(Linux)
      guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss) * 1024
    #else
      guard getrusage(RUSAGE_SELF, &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss)
    #endif
  }

  /// Resident memory now, in bytes; the largest so far where the system does not say.
  public static var residentBytes: UInt64 {
    #if os(Linux)
      // Not through `ReadableFile`, which counts what it reads.
      guard let file = fopen("/proc/self/statm", "r") else { return peakResidentBytes }
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 128)
      guard fgets(&line, Int32(line.count), file) != nil else { return peakResidentBytes }
      let fields = line.prefix { $0 != 0 }.split(separator: CChar(UInt8(ascii: " ")))
      guard fields.count > 1, let pages = UInt64(String(decoding: fields[1].map(UInt8.init), as: UTF8.self)) else {
        return peakResidentBytes
      }
      return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    #else
      return peakResidentBytes
    #endif
  }

  /// Memory of the machine, or what the control group of the process allows of it, in bytes.
  public static var machineMemory: UInt64 {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    let all = pages > 0 ? UInt64(pages) * UInt64(sysconf(Int32(_SC_PAGESIZE))) : UInt64.max
    #if os(Linux)
      guard let file = fopen("/sys/fs/cgroup/memory.max", "r") else { return all }
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 64)
      guard fgets(&line, Int32(line.count), file) != nil else { return all }
      let digits = line.prefix { $0 >= 48 && $0 <= 57 }.map(UInt8.init)
      return min(all, UInt64(String(decoding: digits, as: UTF8.self)) ?? all)
    #else
      return all
    #endif
  }

  /// Bytes that the process has read from files so far, each reading of the same bytes counted.
  public static var bytesRead: UInt64 { ReadableFile.byteCounter.load(ordering: .relaxed) }
}

/// How this process uses memory.
public enum ProcessMemory {
  /// Keeps freed buffers for the next ones. Tiles are megabytes, and glibc gives each back to the system when it is freed:
  /// half the time of a quantizer then goes into pages that are mapped and cleared again. What is held stays at the peak
  /// that the tiles have at once.
  public static func keepsFreedBuffers() {
    ck_keep_freed_memory(32 << 20, 512 << 20)
  }

  /// Gives large buffers back to the system when they are freed. A forward pass has few of them, of many sizes, and works
  /// long on each: kept ones would seldom fit the next, and the resident memory would be several times what is in use.
  public static func returnsFreedBuffers() {
    ck_keep_freed_memory(4 << 20, 32 << 20)
  }
}
